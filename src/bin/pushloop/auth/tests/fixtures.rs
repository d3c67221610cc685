//! Keys and tokens that PyJWT 2 made: another reading of the same documents.

/// What each token says: `{"sub":"ada","exp":4102444800,"subscribe":["chat/*"]}`.
pub struct Made {
    pub algorithm: &'static str,
    pub token: &'static str,
    pub pem: &'static str,
    pub jwk: &'static str,
}

pub const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

pub const HS256: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjQxMDI0NDQ4MDAsInN1YnN\
    jcmliZSI6WyJjaGF0LyoiXX0._qHwitFXSmlPN_dx-WDmIjOwPI6B4i0rwfp_gqzbM0Y";

pub const PUBLIC: [Made; 3] = [
    Made {
        algorithm: "RS256",
        token: "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjQxMDI0NDQ4MDAsInN1YnN\
             jcmliZSI6WyJjaGF0LyoiXX0.CS3LDlNAUMEmJ0GqzAnqNaONtEDVeLfDsZt05eMLwB_taAN_zQw0pN7JzSI\
             zQfwzDYO5PL-GXdscircLDoZ9zmviVooYqXJzWJqcF08KDCF0_IkAYJqihOOHj-ksYPMMA5UgQO5j--U0oKw\
             hGSZ3UOSNjSt_q4tioGxk3aw66xhkB67GCsPeRYgWALvkeqkeTJBawjpkDJAeMV5cD6PpslIdmKnHKx7XFww\
             esRWQ7xPZEqckbYWgryTx4yBOwOlmlLcpjv_0b_VJCnAg4N9caUjK7EP0JwKAJjNK8ozAwHbkaSkBV531Qf0\
             qNiwsSejIT04_FQecJiwp__UnZCbYBg",
        pem: "-----BEGIN PUBLIC KEY-----\n\
             MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAhNpUDZtTmFN/haT4usdA\n\
             xVXScd0qHzTn+ofdZaZ23kQl8MmQXSs/P7fG8W3vpvdovfSDFv6rmgJA1LRJY4nq\n\
             T9rT8iUA90TXjF8kS6swaMofjcyFIUNfayX7ooun7lH9n0x0OB01z0MRQcXBah/3\n\
             hm8amssXxTzJcuM7EXzCdQvqbOaUjWurP3CrbsVrkllJo/4GT26zcBQotfjKQnAD\n\
             RoMHcjKUAsvSYLHE++VGTYu8lj3epVLfzFkhl/yYOXWi5h5kvqmOQxbEynZQUY4B\n\
             sel4U+5MjIoagcZtBwCBKeDM9uZdzRdiWXBxbEN82y4MxIxoWhCI2g8r9id7dAev\n\
             8QIDAQAB\n\
             -----END PUBLIC KEY-----\n",
        jwk: "{\"kty\":\"RSA\",\"key_ops\":[\"verify\"],\"n\":\"hNpUDZtTmFN_haT4usdAxVXScd0qHzTn-ofdZaZ23kQl8\
             MmQXSs_P7fG8W3vpvdovfSDFv6rmgJA1LRJY4nqT9rT8iUA90TXjF8kS6swaMofjcyFIUNfayX7ooun7lH9n\
             0x0OB01z0MRQcXBah_3hm8amssXxTzJcuM7EXzCdQvqbOaUjWurP3CrbsVrkllJo_4GT26zcBQotfjKQnADR\
             oMHcjKUAsvSYLHE--VGTYu8lj3epVLfzFkhl_yYOXWi5h5kvqmOQxbEynZQUY4Bsel4U-5MjIoagcZtBwCBK\
             eDM9uZdzRdiWXBxbEN82y4MxIxoWhCI2g8r9id7dAev8Q\",\"e\":\"AQAB\"}",
    },
    Made {
        algorithm: "ES256",
        token: "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjQxMDI0NDQ4MDAsInN1YnN\
             jcmliZSI6WyJjaGF0LyoiXX0.R8uWp847ALiq9YCoBFrO-IiiQdg3U_tpdq1KQQhZ4udJTtjZPOCnSdX45xd\
             pcesNKFuiqppWZZ21TmNenvvVAw",
        pem: "-----BEGIN PUBLIC KEY-----\n\
             MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE4FMdtuT7JUfdxs9NH17C+PMVZdrg\n\
             pYl1E7sgcPFGCYXM9nmz/pIublZxktfgP8jgl9mJEq4OXgxXMVqPRDB3gg==\n\
             -----END PUBLIC KEY-----\n",
        jwk: "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"4FMdtuT7JUfdxs9NH17C-PMVZdrgpYl1E7sgcPFGCYU\",\"y\":\"zPZ\
             5s_6SLm5WcZLX4D_I4JfZiRKuDl4MVzFaj0Qwd4I\"}",
    },
    Made {
        algorithm: "EdDSA",
        token: "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjQxMDI0NDQ4MDAsInN1YnN\
             jcmliZSI6WyJjaGF0LyoiXX0.YoUR3ePJPc1Ib4-cuGlmNQP1jmUldGgMQhMi_5u4-CBtiZTG3KmlxzwxQmo\
             1EXfqC5HRAdsB-vrWxqkrpr2DAQ",
        pem: "-----BEGIN PUBLIC KEY-----\n\
             MCowBQYDK2VwAyEAbaK0fDfdZQlOI5nSFJRy5hXQCO7ILPjkp/ztBXZG1Ww=\n\
             -----END PUBLIC KEY-----\n",
        jwk: "{\"x\":\"baK0fDfdZQlOI5nSFJRy5hXQCO7ILPjkp_ztBXZG1Ww\",\"kty\":\"OKP\",\"crv\":\"Ed25519\"}",
    },
];

/// By OpenSSL: an RSA key of 1,024 bits.
pub const SHORT_RSA: &str = "-----BEGIN PUBLIC KEY-----\n\
    MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCuSPlPIiuGcj1GT7UFgkAlURf6\n\
    3vb/ZG29QED41aLrOFvZvecNUzZsj3xXf07KsieIOYiDgQlMMx7SFx9D+g0ryGWK\n\
    idIfLf+Rj65LjghT1NIdEul52V5K8X067tWdA0/5gGYRUDH9MkHxWulu8ZtFrQb5\n\
    aAXI4dZjAu/IU4B2PwIDAQAB\n\
    -----END PUBLIC KEY-----\n";

/// By OpenSSL: a key of P-384.
pub const P384: &str = "-----BEGIN PUBLIC KEY-----\n\
    MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEkGcQcb5Az0zfHemXaXBRFjVqnY9Zjzjw\n\
    d+GS5Jm7rtFi65KoM8dQP1TDms0JXFS2WT+StISw8Kzd1O0UQ+qeTu2Z8QPq79DJ\n\
    Vr6plW6Jr4E8n64m4gv1tw1W1Orwf+Ux\n\
    -----END PUBLIC KEY-----\n";
