//! What policies, their compiler and the store of API keys can say.

use super::codes;

codes! { POLICY:
    /// A rate limit cannot be used as it is written.
    ///
    /// A limit names calls per window: `rate_limit: { limit: 100, window: 1m, per: consumer }`. `per` takes
    /// `consumer`, `key`, `address`, `api`, `operation`, `global`, or a list of them; several limits of one
    /// operation need different names.
    RATE_LIMIT_INVALID = "rate-limit-invalid";
    /// A consumer cannot be used as it is written.
    ///
    /// Names, keys and subjects of consumers must each be unique and not empty; a key has at least 16 characters.
    CONSUMER_INVALID = "consumer-invalid";
    /// An issuer of tokens cannot be used as it is written.
    ///
    /// An issuer needs its name (`issuer`), and keys: a JSON Web Key Set by URL or file (`jwks`), a public key
    /// (`public_key`) or a shared `secret`.
    ISSUER_INVALID = "issuer-invalid";
    /// Tokens of an issuer are accepted whoever they were made for.
    ///
    /// Without `audience` a token that the issuer made for another service opens this one too.
    ISSUER_WITHOUT_AUDIENCE = "issuer-without-audience";
    /// The keys of an issuer are fetched by plain HTTP.
    ///
    /// Whoever can change the answer on its way can sign tokens that this gateway accepts.
    ISSUER_PLAINTEXT = "issuer-plaintext";
    /// The file of API keys cannot be read.
    ///
    /// The gateway does not start with fewer keys than it had: restore the file from a backup, or move it away to
    /// start with no keys.
    KEYS_DAMAGED = "keys-damaged";
    /// The file of API keys cannot be written.
    KEYS_UNWRITABLE = "keys-unwritable";
    /// An API key cannot be made or changed as asked.
    KEY_REFUSED = "key-refused";
}
