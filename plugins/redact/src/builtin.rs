//! The patterns that are built in.
//!
//! Each is one or several expressions. What is common to them:
//!
//! * They are over bytes (`(?-u)`), and classes name ASCII, so that a text in any encoding is looked into.
//! * There is no look-around in these expressions. Where something must stand around a secret, only the group
//!   `secret` is the secret; a match without the group is an exception, which takes its text out of the way.
//! * The host scans a record once before it looks into its texts, for bytes that every match has (`@`, `eyJ`)
//!   or for a run of a few kinds of bytes (thirteen digits). So alternatives that share nothing are expressions
//!   of their own.

use serde::Deserialize;
use tollgate_plugin::Check;

/// Keys whose values are credentials, in any spelling: `db.password`, `clientSecret`, `x-api-key`,
/// `http.request.header.authorization`.
pub const CREDENTIAL_KEYS: &str = concat!(
    // Written so that a record is scanned once for a few texts.
    r"(?-u)(?:[Pp]assword|PASSWORD|[Pp]asswd|PASSWD|[Pp]assphrase|PASSPHRASE|[Ss]ecret|SECRET",
    r"|(?:[Aa]pi|API|[Pp]rivate|PRIVATE|[Ss]ecret|SECRET)[._-]?(?:[Kk]ey|KEY)",
    r"|(?:[Aa]ccess|ACCESS|[Rr]efresh|REFRESH|[Aa]uth|AUTH|[Ss]ession|SESSION|[Bb]earer|BEARER|[Aa]pi|API)",
    r"[._-]?(?:[Tt]oken|TOKEN)|id[._-]token|idToken|ID_TOKEN",
    r"|(?:^|[._-])(?:[Aa]uthorization|AUTHORIZATION|[Cc]ookie|COOKIE))$",
);

/// Keys whose values are versions: four numbers are no address there.
pub const VERSION_KEYS: &str = r"(?i-u)version|release|firmware|build";

/// A built-in pattern, by its name in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Builtin {
    PrivateKey,
    UrlPassword,
    Bearer,
    UrlQuery,
    Jwt,
    ApiKey,
    Email,
    Iban,
    CardNumber,
    Ipv6,
    Ipv4,
}

impl Builtin {
    /// In the order in which they are looked for: what may hold something else comes before it.
    pub const ALL: &[Builtin] = &[
        Builtin::PrivateKey,
        Builtin::UrlPassword,
        Builtin::Bearer,
        Builtin::UrlQuery,
        Builtin::Jwt,
        Builtin::ApiKey,
        Builtin::Email,
        Builtin::Iban,
        Builtin::CardNumber,
        Builtin::Ipv6,
        Builtin::Ipv4,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Builtin::PrivateKey => "private-key",
            Builtin::UrlPassword => "url-password",
            Builtin::Bearer => "bearer",
            Builtin::UrlQuery => "url-query",
            Builtin::Jwt => "jwt",
            Builtin::ApiKey => "api-key",
            Builtin::Email => "email",
            Builtin::Iban => "iban",
            Builtin::CardNumber => "card-number",
            Builtin::Ipv6 => "ipv6",
            Builtin::Ipv4 => "ipv4",
        }
    }

    /// Whether what it finds is what it says, and nothing that operators look for. Addresses are neither:
    /// four numbers may be a version, and machines have addresses too.
    pub const fn is_certain(self) -> bool {
        !matches!(self, Builtin::Ipv4 | Builtin::Ipv6)
    }

    pub fn expressions(self) -> Vec<(String, Check)> {
        let (expressions, check) = match self {
            Builtin::PrivateKey => (vec![PRIVATE_KEY.to_owned()], Check::None),
            Builtin::UrlPassword => (url_password(), Check::None),
            Builtin::Bearer => (bearer(), Check::None),
            Builtin::UrlQuery => (url_query(), Check::None),
            Builtin::Jwt => (vec![jwt()], Check::None),
            Builtin::ApiKey => (api_key(), Check::None),
            Builtin::Email => (email(), Check::None),
            Builtin::Iban => (vec![iban()], Check::Iban),
            Builtin::CardNumber => (card_number(), Check::Luhn),
            Builtin::Ipv6 => (ipv6(), Check::None),
            Builtin::Ipv4 => (vec![ipv4()], Check::None),
        };
        expressions.into_iter().map(|expression| (expression, check)).collect()
    }
}

/// Puts words in their places: `{word}` in an expression.
fn filled(expression: &str, words: &[(&str, &str)]) -> String {
    let fill =
        |expression: String, (name, word): &(&str, &str)| expression.replace(&format!("{{{name}}}"), word);
    words.iter().fold(expression.to_owned(), fill)
}

/// What stands before something that says by its beginning what it is: no letter or digit. An underscore is
/// a letter to `\b` (`token_ghp_…`), and a sign that is percent-encoded ends in one (`%3Dghp_…`).
const START: &str = r"(?:\b|_|%[0-9A-Fa-f]{2})";
/// And behind what is of a certain length: `AKIA…_old`.
const END: &str = "(?:$|[^0-9A-Za-z])";

/// PEM and OpenPGP, to their end or that of the text; line ends may be written as `\n`, spaces as in a form.
const PRIVATE_KEY: &str = concat!(
    r"(?s-u)-----BEGIN(?:[ +]|%20)[A-Z0-9 +%]{0,30}PRIVATE(?:[ +]|%20)KEY(?:(?:[ +]|%20)BLOCK)?-----",
    r".*?(?:-----END(?:[ +]|%20)[A-Z0-9 +%]{0,30}PRIVATE(?:[ +]|%20)KEY(?:(?:[ +]|%20)BLOCK)?-----|$)",
);

/// `postgres://user:secret@host`. Not a port, which no `@` follows before the path.
fn url_password() -> Vec<String> {
    /// Slashes may be escaped, as PHP does in JSON.
    const SLASHES: &str = r"(?-u):(?://|\\/\\/)";
    vec![
        // As it should be: what is before the path ends at the last `@`, so one may be in the password, and in
        // the user's name, which may be an address. Where a password has both an `@` and, behind it, a slash,
        // this takes it up to its `@`: `u:p@a/b@c` is what a URL of the host `a` looks like, too. A `|` behind
        // an `@` is between columns.
        format!(
            concat!(
                r#"{slashes}[^\s/?#:"'<>\\|]*:"#,
                r#"(?<secret>(?:[^\s/?#@"'<>\\]+|@[^\s/?#@"'<>\\|]*)(?:@[^\s/?#@"'<>\\|]*)*)@"#,
            ),
            slashes = SLASHES,
        ),
        // With a `/`, `?` or `#` that should have been encoded. Only if no `@` comes before it, for then it
        // would be the path's; and not if up to five digits do, for these are a port, and the `@` is one
        // of the path or query: `http://host:8080/path?mail=a@b.c`. Nor behind a host in brackets. What
        // begins with it has no second slash: `file://C:/app/@scope`. The password ends at the first `@`,
        // or at the last one before the next slash, and has no space or quote.
        format!(
            concat!(
                r#"{slashes}[^\s/?#:@"'<>\\\[|]*:(?<secret>(?:[/?#][^\s/?#@"'<>\\|]+"#,
                r#"|(?:[0-9]{{6,}}|[0-9]{{0,5}}[^0-9\s/?#@"'<>\\][^\s/?#@"'<>\\]*)"#,
                r#"(?:[/?#]|\\/)(?:[^\s@"'<>\\|]|\\/)*)(?:@[^\s/?#@"'<>\\|]*)*)@[0-9A-Za-z_\[]"#,
            ),
            slashes = SLASHES,
        ),
        // Within a parameter of another URL: whatever would end it there is percent-encoded.
        concat!(
            r#"(?i-u)%3a%2f%2f(?:[^\s/?#:@&"'<>\\%]|%(?:[0-14-9a-f][0-9a-f]|2[0-9a-e]|3[0-9b-e]))*%3a"#,
            r#"(?<secret>(?:[^\s/?#&"'<>\\%]|%(?:[0-14-9a-f][0-9a-f]|2[0-24-9a-e]|3[0-9a-e]))+)%40"#,
        )
        .to_owned(),
    ]
}

/// Parameters by their name, at the beginning of a query or form too. What ends in one of the longer words is
/// one (`X-Amz-Security-Token`, `newPassword`), a short word must be the whole name. Either may stand in the
/// brackets of Rails and PHP (`user[password]`, `user[pin]`), which may be percent-encoded.
fn url_query() -> Vec<String> {
    const NAME: &str = concat!(
        r"(?:[a-z0-9_.%\[\]-]*(?:token|secret|(?:password|passwd)(?:[_-]?(?:confirm(?:ation)?|again|repeat|[0-9]))?",
        r"|passphrase|signature|api[_-]?key|access[_-]?key(?:[_-]?id)?",
        r"|private[_-]?key|subscription-key|credentials?|session[_-]?id|sessid|code_verifier)",
        r"|(?:[a-z0-9_.%\[\]-]*(?:\[|%(?:25)?5b))?",
        r"(?:pwd|pass|pin|otp|sig|hmac|auth|authorization|jwt|sid|session|ticket|assertion|client_assertion",
        r"|samlre(?:sponse|quest))",
        // `sort[key]` and `filter[key]` are none.
        r"|key)(?:\]|%(?:25)?5d)?(?:(?:\[|%(?:25)?5b)[0-9]*(?:\]|%(?:25)?5d))?",
    );
    vec![
        // Go writes `&` in JSON as `\u0026`.
        format!(r#"(?i-u)(?:^|[?&#;]|\\u0026){NAME}=(?<secret>[^&#\s"'<>\\]+)"#),
        // Within a parameter of another URL: a percent-encoded `&` or `#` ends it.
        format!(
            concat!(
                r"(?i-u)(?:[?&#;]|%3f|%26|%23|%3b){name}%3d",
                r#"(?<secret>(?:[^&#\s"'<>\\%]|%(?:[013-9a-f][0-9a-f]|2[0-24-57-9a-f]))+)"#,
            ),
            name = NAME,
        ),
        URL_CODE.to_owned(),
    ]
}

/// The code of OAuth, which is longer than a status's or a country's.
const URL_CODE: &str = r#"(?-u)(?:^|[?&#;])code=(?<secret>[^&#\s"'<>\\]{8,})"#;

/// Signed (three parts) or encrypted (five), and one that was cut off in its second part: that holds the
/// claims.
fn jwt() -> String {
    format!(
        concat!(
            r"(?-u){start}(?<secret>eyJ[A-Za-z0-9_-]{{10,}}\.",
            r"(?:eyJ[A-Za-z0-9_-]*|[A-Za-z0-9_-]*\.[A-Za-z0-9_-]{{10,}})(?:\.[A-Za-z0-9_-]+)*)",
        ),
        start = START,
    )
}

/// What stands after a scheme's word. Behind `Authorization:` that is anything; elsewhere it must look like a
/// token, for one may also speak of bearers and of basic authentication.
fn bearer() -> Vec<String> {
    const TOKEN: &str = "A-Za-z._~+/-";
    const BASE64: &str = "A-Za-z+/";
    /// Between a header's name and its value: in a request, in JSON, in a hash of Ruby, in a list of Go, in a
    /// pair of Python, in a form.
    const IS: &str =
        r#"(?:["'\\]*\s*(?:=>|[:=]|%3[ADad])(?:[\s+]|%20)*["'\\\[]*b?["'\\]*|["'\\]+,\s*b?["'\\]+)"#;
    // Each with its own capitals: a word that is in every match is looked for before all else. CGI has
    // `HTTP_AUTHORIZATION`.
    let mut expressions = Vec::new();
    for name in ["[Aa]uthorization", "AUTHORIZATION"] {
        // A list of names and values.
        expressions.push(format!(
            concat!(
                r#"(?-u){name}{is}(?i:digest|hawk|oauth|hmac|aws4-hmac-sha256|token)(?:[\s+]|%20)+"#,
                r#"(?<secret>[A-Za-z_-]+=(?:\\*"[^"\\]*\\*"|[^\s,"'\\]*)"#,
                r#"(?:\s*,\s*[A-Za-z_-]+=(?:\\*"[^"\\]*\\*"|[^\s,"'\\]*))*)"#,
            ),
            name = name,
            is = IS,
        ));
        expressions.push(format!(
            concat!(
                r#"(?-u){name}{is}(?i:bearer|basic|token|api-?key|negotiate|ntlm|dpop|ssws|sharedkey|key)"#,
                r#"(?:[\s+]|%20)+(?<secret>[^\s"'\\,;\]}}]+)"#,
            ),
            name = name,
            is = IS,
        ));
    }
    let after = |word: &str, separator: &str, class: &str| {
        let token = with_digit(class, 8);
        let secret = format!("(?:{token}|[{class}]{{24,}}|[{class}]{{6,}}=)=*");
        format!(r#"(?-u){word}(?:[\s:="'\\]|{separator})+(?<secret>{secret})"#)
    };
    for word in ["[Bb]earer", "BEARER"] {
        expressions.push(after(&format!("{START}{word}"), r"\+|%20|%3[ADad]", TOKEN));
    }
    // A plan's name may end in `_basic`, and stand before a `+`.
    for word in ["[Bb]asic", "BASIC"] {
        expressions.push(after(&format!(r"\b{word}"), "%20", BASE64));
    }
    expressions
}

/// At least so many characters of a class and digits, with a digit among the first of them.
fn with_digit(class: &str, length: usize) -> String {
    let at = |place: usize| match length - 1 - place {
        0 => format!("[{class}]{{{place},}}[0-9][0-9{class}]*"),
        rest => format!("[{class}]{{{place}}}[0-9][0-9{class}]{{{rest},}}"),
    };
    let places: Vec<String> = (0..length).map(at).collect();
    format!("(?:{})", places.join("|"))
}

/// Keys that say by their beginning what they are, each with its real length.
fn api_key() -> Vec<String> {
    const KEYS: &[&str] = &[
        r"[rs]k_(?:live|test|prod)_[0-9A-Za-z]{24,}", // Stripe; pk_ is public
        r"sk-[0-9A-Za-z]{32,}",                       // OpenAI and those who took after it
        r"sk-(?:proj|svcacct|admin|ant|or|lf)-[0-9A-Za-z_-]{20,}",
        r"gh[opsur]_[0-9A-Za-z]{36,}", // GitHub
        r"github_pat_[0-9A-Za-z]{22}_[0-9A-Za-z]{59,}",
        r"gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|oas|soat)-[0-9A-Za-z_.-]{20,}", // GitLab
        r"xox[abeoprs]-[0-9A-Za-z-]{20,}",                                    // Slack
        r"xapp-[0-9]-[0-9A-Z]{8,}-[0-9]{8,}-[0-9A-Za-z]{32,}",
        r"AIza[0-9A-Za-z_-]{35,}", // Google
        r"ya29\.[0-9A-Za-z_-]{20,}",
        r"GOCSPX-[0-9A-Za-z_-]{28,}",
        r"shp(?:at|ca|pa|ss|ua|tka)_[0-9A-Fa-f]{32}", // Shopify
        r"npm_[0-9A-Za-z]{36}",
        r"pypi-[0-9A-Za-z_-]{50,}",
        r"rubygems_[0-9a-f]{48}",
        r"SG\.[0-9A-Za-z_-]{22}\.[0-9A-Za-z_-]{43,}", // SendGrid
        r"\bkey-[0-9a-f]{32}",                        // Mailgun; `cache_key-…` is none
        r"SK[0-9a-f]{32}",                            // Twilio
        r"do[opr]_v1_[0-9a-f]{64}",                   // DigitalOcean
        r"dp\.(?:pt|st|ct|sa|scim|audit)\.[0-9A-Za-z]{40,}", // Doppler
        r"hv[bsr]\.[0-9A-Za-z_-]{24,}",               // HashiCorp Vault
        r"glsa_[0-9A-Za-z]{32}_[0-9a-f]{8}",          // Grafana
        r"NRAK-[0-9A-Z]{27}",                         // New Relic
        r"lin_api_[0-9A-Za-z]{40}",                   // Linear
        r"ntn_[0-9A-Za-z]{40,}",                      // Notion
        r"fig[dp]_[0-9A-Za-z_-]{40,}",                // Figma
        r"hf_[A-Za-z]{34}",                           // Hugging Face
        r"r8_[0-9A-Za-z]{37}",                        // Replicate
        r"gsk_[0-9A-Za-z]{52}",                       // Groq
        r"xai-[0-9A-Za-z]{80}",
        r"pplx-[0-9A-Za-z]{48}",
        r"dckr_[op]at_[0-9A-Za-z_-]{27,}", // Docker
        r"dapi[0-9a-f]{32}",               // Databricks
        r"sbp_[0-9a-f]{40}",               // Supabase
        r"pscale_(?:tkn|pw|oauth)_[0-9A-Za-z_.-]{32,}",
        r"sq0(?:atp|csp)-[0-9A-Za-z_-]{22,}", // Square
        r"AGE-SECRET-KEY-1[0-9A-Z]{58}",
    ];
    /// Those that are base64.
    const BASE64: &[&str] = &[
        r"whsec_[0-9A-Za-z+/]{32,}=*",        // Stripe's and Svix' webhooks
        r"glc_[0-9A-Za-z+/]{32,}=*",          // Grafana
        r"sntry[su]_[0-9A-Za-z+/=_-]{40,}",   // Sentry
        r"AT(?:ATT|CTT)3[0-9A-Za-z_=-]{60,}", // Atlassian
    ];
    vec![
        format!("(?-u){START}(?<secret>{}){END}", KEYS.join("|")),
        format!("(?-u){START}(?<secret>{})", BASE64.join("|")),
        format!("(?-u){START}(?<secret>(?:AKIA|ASIA|ABIA|ACCA)[2-7A-Z]{{16}}){END}"), // AWS
        // Addresses that are keys: who knows one may post there.
        r"(?-u)\bhooks\.slack\.com/(?:services|workflows|triggers)/(?<secret>[0-9A-Za-z/_-]{20,})".to_owned(),
        r"(?-u)/api/(?:v[0-9]+/)?webhooks/(?<secret>[0-9]{15,}/[0-9A-Za-z_-]{30,})".to_owned(), // Discord
        r"(?-u)\.webhook\.office\.com/webhookb2/(?<secret>[0-9A-Za-z/@_-]{30,})".to_owned(),    // Teams
        format!("(?-u)(?:{START}|bot)(?<secret>[0-9]{{8,10}}:AA[0-9A-Za-z_-]{{32,34}})"),       // Telegram
    ]
}

/// Addresses at a domain with a top level. Letters of two bytes are letters (é, ж), signs of three are not
/// (…, “), so that a sentence in Chinese is not part of an address. Not `git@` of an SSH remote, nor a version
/// behind a package's name.
fn email() -> Vec<String> {
    const WORDS: &[(&str, &str)] = &[
        ("first", r"(?:[0-9A-Za-z_]|[\xc3-\xdf][\x80-\xbf])"),
        ("local", r"(?:[0-9A-Za-z._%+'-]|[\xc3-\xdf][\x80-\xbf])"),
        ("label", r"(?:[0-9A-Za-z-]|[\xc3-\xdf][\x80-\xbf])+"),
        ("top", r"(?:[Xx][Nn]--[0-9A-Za-z-]+|(?:[A-Za-z]|[\xc3-\xdf][\x80-\xbf]){2,})"),
    ];
    let with = |at: &str| {
        let expression = concat!(
            r"(?-u)\bgit{at}|[0-9A-Za-z/._-]+{at}v?[0-9]+\.[0-9]",
            r"|(?<secret>{first}{local}*{at}(?:{label}\.)+{top})",
        );
        filled(&filled(expression, &[("at", at)]), WORDS)
    };
    vec![with("@"), with("%40")]
}

/// By country: its length, and whether all but the country is digits. Printed in groups of four or not.
fn iban() -> String {
    const DIGITS: &[(usize, &str)] = &[
        (15, "NO"),
        (16, "BE"),
        (18, "DK|FI|FO|GL|SD"),
        (19, "SI"),
        (20, "AT|BA|EE|LT|MN|XK"),
        (21, "HR"),
        (22, "CR|DE|ME|RS|VA"),
        (23, "AE|IL|SO|TL"),
        (24, "CZ|ES|SE|SK|TN"),
        (25, "LY|PT|ST"),
        (26, "IS"),
        (27, "BI|DJ|MR"),
        (28, "HU|PL"),
        (29, "EG"),
    ];
    const LETTERS_TOO: &[(usize, &str)] = &[
        (18, "FK|NL"),
        (19, "MK"),
        (20, "KZ|LU"),
        (21, "CH|LI|LV"),
        (22, "BG|BH|GB|GE|IE"),
        (23, "GI|IQ|OM"),
        (24, "MD|PK|RO|SA|VG"),
        (26, "TR"),
        (27, "FR|GR|IT|MC|SM"),
        (28, "AL|AZ|BY|CY|DO|GT|HN|LB|NI|SV"),
        (29, "BR|PS|QA|UA"),
        (30, "JO|KW|MU|YE"),
        (31, "MT|SC"),
        (32, "LC"),
        (33, "RU"),
    ];
    let country = |(length, names): &(usize, &str), class: &str| {
        let (groups, rest) = ((length - 4) / 4, (length - 4) % 4);
        let rest = if rest == 0 { String::new() } else { format!("[ +-]?{class}{{{rest}}}") };
        format!("(?:{names})[0-9]{{2}}(?:[ +-]?{class}{{4}}){{{groups}}}{rest}")
    };
    let countries: Vec<String> = DIGITS
        .iter()
        .map(|of| country(of, "[0-9]"))
        .chain(LETTERS_TOO.iter().map(|of| country(of, "[0-9A-Z]")))
        // Its country is two hexadecimal digits: what must be digits is.
        .chain(["AD[0-9]{2}(?:[ +-]?[0-9]{4}){2}(?:[ +-]?[0-9A-Z]{4}){3}".to_owned()])
        .collect();
    format!("(?-u){START}(?<secret>{}){END}", countries.join("|"))
}

/// By issuer and length, in one piece or in the groups that are printed on cards. Not within a longer number,
/// a fraction, a hash or a UUID; nor the ids of a shop's things, which are as long.
fn card_number() -> Vec<String> {
    const ISSUERS: &[&str] = &[
        "4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})", // Visa
        "(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}", // Mastercard
        "3[47][0-9]{13}",                     // American Express
        "3(?:0[0-5][0-9]{11,16}|095[0-9]{10,15}|[689][0-9]{12,17})", // Diners Club
        "35(?:2[89]|[3-8][0-9])[0-9]{12,15}", // JCB
        "6(?:011|4[4-9][0-9]|5[0-9]{2})[0-9]{12,15}", // Discover
        "(?:62[0-9]{2}|81[0-6][0-9]|817[01])[0-9]{12,15}", // UnionPay
        "(?:5018|5020|5038|5893|6304|6390|6759|676[1-3])[0-9]{9,15}", // Maestro
        "220[0-4][0-9]{12,15}",               // Mir
        "(?:50[6-9][0-9]|60[0-9]{2}|636[0-9]|82[0-9]{2}|8600|9792|9860)[0-9]{12}", // RuPay, Elo, Verve, Troy …
    ];
    const GROUPS: &[&str] = &[
        // Sixteen, or nineteen.
        concat!(
            "(?:4[0-9]{3}|5[0-8][0-9]{2}|2[2-7][0-9]{2}|3[05689][0-9]{2}|6[0-9]{3}|8[126][0-9]{2}|9792|9860)",
            "(?:{gap}[0-9]{4}){3}(?:{gap}[0-9]{3})?",
        ),
        "3[47][0-9]{2}{gap}[0-9]{6}{gap}[0-9]{5}",
        "3(?:0[0-5]|[689][0-9])[0-9]{gap}[0-9]{6}{gap}[0-9]{4}",
        "4[0-9]{3}(?:{gap}[0-9]{3}){3}",
    ];
    /// A space, a hyphen, a space in a form, one that does not break.
    const GAP: &str = r"(?:[ +-]|\xc2\xa0)";
    let whole = format!(
        concat!(
            r"(?-u)gid://[A-Za-z/-]+[0-9]+|\b0[Xx][0-9A-Fa-f]+",
            r"|(?:^|[^0-9A-Fa-f.]|(?:^|[^0-9])\.|[Cc]ard|CARD|%[2-7][0-9A-Fa-f])(?<secret>{})(?:$|[^0-9A-Fa-f.]|\.(?:$|[^0-9]))",
        ),
        ISSUERS.join("|"),
    );
    let grouped = format!(
        concat!(
            r"(?-u)(?:^|[^0-9A-Fa-f.-]|(?:^|[^0-9A-Fa-f])[.-]|[Cc]ard|CARD|%[2-7][0-9A-Fa-f])(?<secret>{})",
            r"(?:$|[^0-9A-Fa-f.-]|[.-](?:$|[^0-9A-Fa-f]))",
        ),
        GROUPS.join("|"),
    );
    vec![whole, filled(&grouped, &[("gap", GAP)])]
}

const OCTET: &str = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";

/// Addresses that are given out: global (2000::/3), NAT64, unique local, link local, multicast. So the first
/// group has four digits, and a time, a hardware address, `std::vec` or `a::b` is none; `::1` is nobody's.
fn ipv6() -> Vec<String> {
    const GROUP: &str = "[0-9A-Fa-f]{1,4}";
    const FIRST: &str = concat!(
        "(?:[23][0-9A-Fa-f]{3}|[Ff](?:[CcDd][0-9A-Fa-f]{2}|[Ee][89ABab][0-9A-Fa-f]|[Ff][0-9A-Fa-f]{2})",
        "|64:[Ff]{2}9[Bb])",
    );
    const START: &str = "(?:^|[^0-9A-Za-z:.]|%[2-7][0-9A-Fa-f])";
    const END: &str = "(?:$|[^0-9A-Za-z:]|:(?:$|[^0-9A-Za-z:]))";
    let v4 = [OCTET; 4].join(r"\.");
    let words: &[(&str, &str)] =
        &[("first", FIRST), ("group", GROUP), ("start", START), ("end", END), ("v4", &v4)];
    vec![
        filled(
            concat!(
                "(?-u){start}(?<secret>{first}(?::{group}){0,6}::",
                "(?:(?:{group}:){0,5}{v4}|{group}(?::{group}){0,6})?){end}",
            ),
            words,
        ),
        filled("(?-u){start}(?<secret>{first}(?::{group}){5}(?::{group}:{group}|:{v4})){end}", words),
        filled("(?-u){start}(?<secret>::[Ff]{4}:(?:{v4}|{group}:{group})){end}", words),
    ]
}

/// Four numbers up to 255. Not where they are a version: behind the word, before a suffix or a file's, within
/// more than four; nor what is nobody's: networks and versions that end in `.0.0`, and the loopback.
fn ipv4() -> String {
    const START: &str = "(?:^|[^0-9A-Za-z.]|%[2-7][0-9A-Fa-f])";
    const END: &str = r"(?:$|[^0-9A-Za-z.]|\.(?:$|[^0-9]))";
    const NOT_ZERO: &str = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9][0-9]?)";
    filled(
        concat!(
            r"(?-u)(?i:version|release|firmware|build|(?:\b|_)(?:ver|rev|v))[^0-9A-Za-z]{0,4}v?[0-9]+(?:\.[0-9]+)+",
            r"|{start}(?:",
            r"127(?:\.[0-9]+){3}\b",
            r"|[0-9]+(?:\.[0-9]+){3}[-.+_]?(?i:alpha|beta|rc|pre|snapshot|dev|nightly|final|release|post",
            r"|jar|war|dll|so|exe|gz|tgz|zip|whl|deb|rpm|js|css)[0-9]*\b",
            r"|(?<secret>{octet}\.{octet}\.(?:{not zero}\.{octet}|0\.{not zero})){end}",
            r")",
        ),
        &[("start", START), ("end", END), ("octet", OCTET), ("not zero", NOT_ZERO)],
    )
}
