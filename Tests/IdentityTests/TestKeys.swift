/// Keys for tests of signed tokens: made for them, and of use to nobody else.
enum TestKeys {
    static let foreignToken =
        "eyJhbGciOiAiSFMyNTYiLCAidHlwIjogIkpXVCJ9.eyJ1c2VybmFtZSI6ICJhbm4iLCAicmV2aXNpb24iOiAzLCAiZ"
        + "XhwIjogMjAwMCwgIm5iZiI6IDEwMH0.ZQ_BkIiLEZkjOB7rRPgECo58_ClPKziw5Rixub1MQN0"

    static let files: [(name: String, contents: String)] = [
        (
            "p256",
            """
            -----BEGIN EC PRIVATE KEY-----
            MHcCAQEEIOFd0qXmNIhVkWCpoglj8nHk41ovA0+F55qNMl3VfAKXoAoGCCqGSM49
            AwEHoUQDQgAE2NUoRhIfB7F2OLNk2TPEMv8IwJLnSISs29RJUdjuOKDF+moupnFW
            BWMiHRahBriSWBZnHrNRkwF8IAPBnYixfg==
            -----END EC PRIVATE KEY-----
            """
        ),
        (
            "p256.pub",
            """
            -----BEGIN PUBLIC KEY-----
            MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE2NUoRhIfB7F2OLNk2TPEMv8IwJLn
            SISs29RJUdjuOKDF+moupnFWBWMiHRahBriSWBZnHrNRkwF8IAPBnYixfg==
            -----END PUBLIC KEY-----
            """
        ),
        (
            "p384",
            """
            -----BEGIN EC PRIVATE KEY-----
            MIGkAgEBBDCq5PVPJrXm/YJo95jLGutN7mlbgVEm/QQ0QOtFSiDMgbvLDJXQrNAa
            wS2dW9A9STOgBwYFK4EEACKhZANiAARBZsNHR9ejVA8uwXi+duiPR516+uq/gobb
            tITvrvr7DBrfgtLvUkSPTphFv6S4p0fcWVaQfNGMpiLUcc4ANgi6oY7VxrpDl1H3
            xQK15aX7EsAtNwNo/4cumAy/B1wyNeI=
            -----END EC PRIVATE KEY-----
            """
        ),
        (
            "p521",
            """
            -----BEGIN EC PRIVATE KEY-----
            MIHcAgEBBEIABCyUThkDX32XfolJJTPM97TniPlfI9cfau3WVq40Z+oQKTHzk84o
            X7BmD9xnhIGwM/q8dNZoDg3sdOfKMDg0OtygBwYFK4EEACOhgYkDgYYABAEhj/tu
            VypbT+E2P+7EMc6fSY7tWOhyal3Nkh/CSk74vfQ08oYgbv6f2QwT7Yl1ibhe6pMj
            bVClc3zzyFtizL0qPwBt09bd5X1kE2jcQy0lUXuECCMQfomNCbtSD3vdwK/qQS8e
            FsBLk2mpf0nq6MJz0IPqCFMJJRqkVio744QmNcnuyA==
            -----END EC PRIVATE KEY-----
            """
        ),
        (
            "rsa",
            """
            -----BEGIN PRIVATE KEY-----
            MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQDVjkuJJti/O8GL
            4u7YcI2Bpwseaz5LwD3LcUl0JeIaHbZVkb8WWDxorlcpMAnlatZLZhMKBkHgAkoJ
            y2ZRVBVfP3rC8oB3KicT1VuUlDCxTZjDZ/dkdw13nwLW9DcoJYzgmlqJKBzimDG0
            HzZnvqrb182xq3cdTv5mIhxbYCeGKBZqjT8c2PQ1exuteSLFyJ/HjKZ8AnFp9PVl
            WgIWPCUDuAjfHdvgMW4P2y6dOk0PdPm/vo3IxqQlF55my1vWnpw0DjayKoKtUW0A
            sLfAusyikbSyCzlN/XgLzKSP3ObUAVkNEVy0T4HOVdENUgMgD9ZEeF0dR+Cil/Km
            xMOho57pAgMBAAECggEAK6UjRuqLjbnWupIsokuOgBr1qMfeOXkWqAeFLZm4dgHw
            i9h3p0dtQS+wXJiWzS5ikZJQ/dF9kRymqQ3K4YA/xfGhU0pgevpAdks6pkkLEpF7
            USRkaUHznKkA2ZGb3Dagbh7dtf5euOjF77wZUGalYLzgKxmSBIlqcNEz3nDuYvpa
            pWj+JGaO0CyQ3Fqqne+f49Sp7XhZQ0KHMLH1w32krd5ZZNM/wLLEJMPMLieTDuIS
            CXO16E3V6h1+2nUH2lt9UDaRTl3yrTmiXLnCkEkytwNmzkpYrJ2rM7litqywWrpb
            gF33mxNF01nD29XeZiq7i5fNxIW7v7rAvLSvNfSF6QKBgQD5TUYAWDU3VQXtknk0
            JW9OplBdk79VCUMcOb8VSvDSpLlF0EbckCZTz1rBfZUjHYpdaI725d86xbZUSbqJ
            f3xT7WrnjAoVQFiYUGrL61yzq7+Vu0trC75czjgc3djAfrLol9yo2XFV7VPXnJei
            zehpxyy5GMVvruvx1cVfLGnQfwKBgQDbSygPr2km+nac579jUazOVKOThaI0DBDy
            OSdIR5QZ2BNhQNPGeLS716/YxOayyRuPi0EvhdQQpptCi7G1kV1i2UaBZfp8u14j
            RkUYBZ0JZu+FL68e5bucuU6HniZrOk4hDGZvaQ1TPWhvc6041SvdDxomcFEMRk6b
            pG/ksbRclwKBgDmpK8WsoTJZEfPu6uWquuHgCbp7D8flSoZevNl56dVukAObtqgR
            FyxPS1hxaWsjy/rq0hY8+LKpRBCetOxUdjcbNJy1gSeFKHiiMPFVUK2lzbweA8WQ
            g8kHUWcr0JRFObAeX8UV9ea/66J074WSRm0gyjFNj2zTcnMO1IW8ygSVAoGANx30
            u7yC2WEqXtWArR3iKRns4y87TYma2Ma0sN4Mw1IjzNXWZJQCGRRlBj63HUievL1r
            bN5eJrE5ZMhnqhMXPbkOl4diJeeSCZun0hnXFn3gxcDuav2i4glRS5TcYycMbBIJ
            zQbCaqGMljak2xv5Il6hW/fu5v7k0wnJddmUU5ECgYAM1Vq7Va09GtN8EbGd3XPg
            DN3mVYGZk8UnePp4eTyEOq243aQLAN+UBK6os0cjLjktTkJkwLoLk82AHeqmUGnW
            JQZH3IIcYZxD+xEJvjdLQh0UyIkPEPg2gsEhP8mCmDVUPQW6o/FjTIe7BZ1pB9aR
            NcgMz0J6AEXAwyM3WL8LQg==
            -----END PRIVATE KEY-----
            """
        ),
        (
            "rsa.pub",
            """
            -----BEGIN PUBLIC KEY-----
            MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA1Y5LiSbYvzvBi+Lu2HCN
            gacLHms+S8A9y3FJdCXiGh22VZG/Flg8aK5XKTAJ5WrWS2YTCgZB4AJKCctmUVQV
            Xz96wvKAdyonE9VblJQwsU2Yw2f3ZHcNd58C1vQ3KCWM4JpaiSgc4pgxtB82Z76q
            29fNsat3HU7+ZiIcW2AnhigWao0/HNj0NXsbrXkixcifx4ymfAJxafT1ZVoCFjwl
            A7gI3x3b4DFuD9sunTpND3T5v76NyMakJReeZstb1p6cNA42siqCrVFtALC3wLrM
            opG0sgs5Tf14C8ykj9zm1AFZDRFctE+BzlXRDVIDIA/WRHhdHUfgopfypsTDoaOe
            6QIDAQAB
            -----END PUBLIC KEY-----
            """
        ),
        (
            "rsa2.pub",
            """
            -----BEGIN PUBLIC KEY-----
            MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAu0JmNxbAfuXxY6/ln21N
            rq6kDsxyLNZnbPkePesglkwnirbInES6ar0nnrecQYqBmoyINKRZMx8n8POASiD7
            OIDW+74cr8NbSnEe00B8Lm4N6PKDKtihYrppLtaFOtFgdaf76mnHhpoXGSVZDZbz
            +bmwsynN8pjwmWfk28MUBv3Fh1Kjk/mtRqDZRHv3L2mM3xvYIGNLMhx/D3ydF8/m
            frlbeTMfTOEK/jekuo+dQEMAMD+laRNKZAQCYnMUHeBkknzVgmL3WZIeL2zLekjt
            Ax2357s6rChM5nr42NaZj3qEeB0YSyOMYhRRFht4CKabtdpgocIR2FtDRvcDxzyD
            +QIDAQAB
            -----END PUBLIC KEY-----
            """
        ),
        (
            "secret",
            """
            a shared secret of the tests, long enough for the longest of the three ways
            """
        ),
        (
            "secret2",
            """
            another secret of the tests, long enough for the longest of the three ways
            """
        ),
        ("short", "31 bytes are one too few for it"),
    ]
}
