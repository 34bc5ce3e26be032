//! What the importer of OpenAPI descriptions can say.

use super::codes;

codes! { IMPORT:
    /// The text could not be read as JSON or YAML, so nothing of it was imported.
    ///
    /// The message names the first place that could not be read; the mistake is there or just before it.
    /// A text that starts with `{` is read as JSON, any other as YAML 1.2.
    PARSE = "parse";
    /// One object holds the same key twice.
    ///
    /// Readers disagree on which of the two counts, so a secured path could silently become an open one.
    /// Remove or rename one of them. In YAML the keys `200` and `"200"` are the same key.
    DUPLICATE_KEY = "duplicate-key";
    /// The file is not UTF-8 text.
    ///
    /// Save it as UTF-8, or convert it: `iconv -f LATIN1 -t UTF-8 old.yaml > new.yaml`.
    ENCODING_NOT_UTF8 = "encoding-not-utf8";
    /// The description states a version that cannot be read, or none.
    ///
    /// Versions 2.0 (Swagger) to 3.2 are read. Swagger 1.2 must be converted first; a description without
    /// a version needs a line such as `openapi: 3.0.3` or `swagger: "2.0"`.
    VERSION_UNSUPPORTED = "version-unsupported";
    /// The file is readable but is no OpenAPI description.
    ///
    /// It may be an HTML page that shows the description, an AsyncAPI document, a part of a split
    /// description or any other JSON. Name the document that starts with `openapi:` or `swagger:`.
    NOT_OPENAPI = "not-openapi";
    /// A description of version 2.0 or 3.0 has no `paths`, which these versions require.
    ///
    /// Write `paths: {}` when there is truly none; 3.1 and later may leave it out.
    PATHS_MISSING = "paths-missing";
    /// The description declares operations, but none of them can be routed.
    ///
    /// The warnings beside this error say why for each of them.
    NO_OPERATION_USABLE = "no-operation-usable";
    /// The YAML aliases of the document stand for more values than are read.
    ///
    /// A few lines of nested aliases can stand for billions of values. Write the repeated parts out or
    /// use `$ref`.
    ALIAS_EXPANSION_LIMIT = "alias-expansion-limit";
    /// The description is larger than what is read.
    ///
    /// At most 80 MB of text and 100,000 operations are imported, and of each operation only so many
    /// parameters, servers and security requirements that all of them together stay within memory.
    TOO_LARGE = "too-large";
    /// The description names no server, so the gateway does not know where to send requests.
    ///
    /// Name the upstream yourself: `--upstream http://127.0.0.1:9000`, or `upstream:` in the configuration.
    NO_SERVER = "no-server";
    /// A server URL is relative to the address of the description, which a file does not have.
    ///
    /// Import the description from its URL, or name the upstream: `--upstream http://127.0.0.1:9000`.
    RELATIVE_SERVER = "relative-server";
    /// A server has no scheme, so it is open whether it speaks `http` or `https`.
    ///
    /// Write the scheme in the description, or name the upstream: `--upstream https://api.example.com`.
    SERVER_WITHOUT_SCHEME = "server-without-scheme";
    /// Requests cannot be sent to a server URL as it is written.
    ///
    /// A variable is not defined or its default is not among its values, the URL holds blanks or text that
    /// was left for the reader to fill in, a query, or a scheme other than `http` and `https`.
    /// `--server-variable NAME=VALUE` gives a variable its value; `--server N` takes another server.
    SERVER_UNUSABLE = "server-unusable";
    /// A path has a fragment, which never reaches a server.
    ///
    /// The operation is routed by what stands before the `#`, together with those required query or header
    /// parameters that allow exactly one value: they tell such operations apart.
    FRAGMENT_IN_PATH = "fragment-in-path";
    /// A path has a query.
    ///
    /// The operation is routed by what stands before the `?`, with the query as a condition: `name=value`
    /// must be there as written, `name={x}` and `name` with any value.
    QUERY_IN_PATH = "query-in-path";
    /// Two operations of one method have paths that no request can tell apart.
    ///
    /// The first one is routed, the later one is not. Names of parameters do not tell paths apart.
    SAME_ROUTE = "same-route";
    /// A path has blanks or characters outside ASCII, which clients send escaped.
    ///
    /// It is routed by its escaped form. Placeholders that were left in look like this as well.
    PATH_CHARACTERS = "path-characters";
    /// A path parameter is written in a form that OpenAPI does not know, such as `{name+}`, `{.name}` or
    /// with a regular expression.
    ///
    /// It is routed as a plain parameter of one segment; the pattern is not enforced.
    PATH_PARAM_PATTERN = "path-param-pattern";
    /// A path has two parameters of the same name. Each of them is matched by itself.
    PATH_PARAM_TWICE = "path-param-twice";
    /// A path has a parameter that its operations do not declare. It is routed and accepts any value.
    PATH_PARAM_UNDECLARED = "path-param-undeclared";
    /// A declared path parameter does not occur in the path and is ignored.
    PATH_PARAM_UNUSED = "path-param-unused";
    /// A path parameter is not marked `required: true`. It is required all the same.
    PATH_PARAM_NOT_REQUIRED = "path-param-not-required";
    /// A path cannot be routed, so its operations are left out.
    ///
    /// A path starts with `/`, closes every `{`, and has neither `.` and `..` segments nor control characters.
    PATH_REFUSED = "path-refused";
    /// An operation is not an object, so it is left out.
    OPERATION_BROKEN = "operation-broken";
    /// An operation is a `$ref`, which OpenAPI allows only for path items. It is followed where it leads
    /// to an operation.
    OPERATION_REF = "operation-ref";
    /// A path item has a key that is neither a method of its version nor any other known key.
    METHOD_UNKNOWN = "method-unknown";
    /// A path item is no object, or a `$ref` that does not lead to a path item. Its operations are unknown.
    PATH_ITEM_REF_UNRESOLVED = "path-item-ref-unresolved";
    /// A `$ref` leads nowhere.
    ///
    /// References may lead to places in this document and in other files of its folder. Addresses are
    /// never fetched.
    REF_UNRESOLVED = "ref-unresolved";
    /// A `$ref` leads out of the folder of the description and was not followed.
    ///
    /// A description must not make the gateway read other files. Import the folder that holds both.
    REF_OUTSIDE_FOLDER = "ref-outside-folder";
    /// A security requirement names a scheme that the description does not define.
    ///
    /// Its operations are closed wherever the gateway checks security, never open.
    SECURITY_UNDEFINED = "security-undefined";
    /// A security scheme is of a kind that the gateway cannot check.
    ///
    /// Operations that need it are closed wherever the gateway checks security. The gateway checks API
    /// keys, `basic`, `bearer`, OAuth 2, OpenID Connect and client certificates.
    SECURITY_UNSUPPORTED = "security-unsupported";
    /// Two operations have the same `operationId`, so it does not name either of them.
    DUPLICATE_OPERATION_ID = "duplicate-operation-id";
    /// A parameter lacks its `name`, or its `in` is not a place of parameters. It is ignored.
    PARAMETER_INVALID = "parameter-invalid";
    /// A request body does not say what content it has, so any is accepted.
    BODY_WITHOUT_CONTENT = "body-without-content";
    /// A media type is not of the form `type/subtype`.
    MEDIA_TYPE_INVALID = "media-type-invalid";
    /// A schema is not an object, or its `type` is not a type of JSON Schema.
    SCHEMA_INVALID = "schema-invalid";
    /// A schema uses keywords of another version of OpenAPI, such as `nullable` in 3.1 or a list of types
    /// in 3.0.
    SCHEMA_OF_OTHER_VERSION = "schema-of-other-version";
    /// A `pattern` is not a regular expression that can be run in bounded time (look-around, references
    /// back), so it is not checked.
    PATTERN_UNSUPPORTED = "pattern-unsupported";
    /// The description has no `info`, so it has neither title nor release.
    INFO_MISSING = "info-missing";
    /// The version is not written as the specification has it, such as `"3.0.3"` in quotes.
    VERSION_ODD = "version-odd";
    /// `Accept`, `Content-Type` and `Authorization` are declared as parameters, which 3.x says to ignore.
    HEADER_PARAMETER_IGNORED = "header-parameter-ignored";
    /// An extension of another gateway is not carried over.
    ///
    /// What it stands for (plugins, integrations, authorizers, limits) must be stated in `x-gatewright` or
    /// in the configuration.
    FOREIGN_EXTENSION = "foreign-extension";
    /// The paths under `x-ms-paths` are not imported.
    X_MS_PATHS_IGNORED = "x-ms-paths-ignored";
    /// The description declares no operation (webhooks or components only), so there is nothing to route.
    NO_OPERATIONS = "no-operations";
}
