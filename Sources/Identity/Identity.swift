import CCrypt
import Crypto
import JWTKit
