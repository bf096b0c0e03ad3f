import Testing

import Identity
