import Testing

import Configuration
