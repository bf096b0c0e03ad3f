import Testing

import BoltFile
