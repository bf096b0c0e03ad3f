import Testing

import Gateway
