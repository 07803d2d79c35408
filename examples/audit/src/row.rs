//! What is written down about a request.

use std::net::SocketAddr;

use agw_sdk::sql::Statement;

/// Characters of a path; longer ones are cut.
const PATH_MAX: usize = 2048;
/// Characters of every other text.
const TEXT_MAX: usize = 255;

/// One request that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Unique over all gateways: a row that is sent twice is written once.
    pub(crate) id: String,
    /// When it began, in milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// The client's IP address.
    pub(crate) client: String,
    pub(crate) method: String,
    pub(crate) host: String,
    /// Without its query, which may hold what should not be kept.
    pub(crate) path: String,
    /// 0 if there was no answer.
    pub(crate) status: i64,
    pub(crate) duration_ms: i64,
    /// Who it was, if a filter or client said so.
    pub(crate) user: Option<String>,
}

/// Where a request's properties and headers come from.
pub(crate) trait Ended {
    fn property(&self, path: [&str; 2]) -> Option<Vec<u8>>;
    fn header(&self, name: &str) -> Option<Vec<u8>>;
}

impl Row {
    /// Reads what the host knows when a request has ended.
    pub(crate) fn of(id: String, user_header: &str, request: &dyn Ended) -> Row {
        let text = |name, max| cut(&request.property(["request", name]).unwrap_or_default(), max);
        let number = |path| {
            let bytes = request.property(path)?;
            Some(i64::from_le_bytes(bytes.try_into().ok()?))
        };
        Row {
            id,
            at_ms: number(["request", "time"]).unwrap_or(0) / 1_000_000,
            client: client(&request.property(["source", "address"]).unwrap_or_default()),
            method: text("method", TEXT_MAX),
            host: text("host", TEXT_MAX),
            path: text("url_path", PATH_MAX),
            status: number(["response", "code"]).unwrap_or(0),
            duration_ms: number(["request", "duration"]).unwrap_or(0) / 1_000_000,
            user: request.header(user_header).map(|user| cut(&user, TEXT_MAX)),
        }
    }

    /// In the order in which the statement has them.
    pub(crate) fn bind<'a>(&self, statement: Statement<'a>) -> Statement<'a> {
        statement
            .bind(self.id.as_str())
            .bind(self.at_ms)
            .bind(self.client.as_str())
            .bind(self.method.as_str())
            .bind(self.host.as_str())
            .bind(self.path.as_str())
            .bind(self.status)
            .bind(self.duration_ms)
            .bind(self.user.as_deref())
    }
}

/// The address without its port.
fn client(address: &[u8]) -> String {
    let text = cut(address, TEXT_MAX);
    text.parse::<SocketAddr>().map(|address| address.ip().to_canonical().to_string()).unwrap_or(text)
}

fn cut(bytes: &[u8], characters_max: usize) -> String {
    String::from_utf8_lossy(bytes).chars().take(characters_max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake(Vec<(&'static str, Vec<u8>)>);

    impl Ended for Fake {
        fn property(&self, [of, name]: [&str; 2]) -> Option<Vec<u8>> {
            self.header(&format!("{of}.{name}"))
        }

        fn header(&self, name: &str) -> Option<Vec<u8>> {
            self.0.iter().find(|(found, _)| *found == name).map(|(_, value)| value.clone())
        }
    }

    #[test]
    fn what_is_not_known_is_empty() {
        let row = Row::of("a".into(), "x-user-id", &Fake(vec![("request.duration", vec![1, 2, 3])]));
        assert_eq!((row.client.as_str(), row.path.as_str(), row.status, row.user), ("", "", 0, None));
        assert_eq!((row.at_ms, row.duration_ms), (0, 0));
    }

    #[test]
    fn everything_is_read_and_cut() {
        let row = Row::of(
            "a".into(),
            "x-user-id",
            &Fake(vec![
                ("request.time", 1_700_000_000_123_456_789_i64.to_le_bytes().to_vec()),
                ("request.duration", 1_999_999_i64.to_le_bytes().to_vec()),
                ("request.method", b"GET".to_vec()),
                ("request.host", b"a.example".to_vec()),
                ("request.url_path", format!("/{}", "é".repeat(3000)).into_bytes()),
                ("response.code", 404_i64.to_le_bytes().to_vec()),
                ("source.address", b"[::ffff:10.0.0.1]:4711".to_vec()),
                ("x-user-id", b"4\xff2".to_vec()),
            ]),
        );
        assert_eq!((row.at_ms, row.duration_ms, row.status), (1_700_000_000_123, 1, 404));
        assert_eq!((row.client.as_str(), row.user.as_deref()), ("10.0.0.1", Some("4\u{fffd}2")));
        assert_eq!((row.method.as_str(), row.host.as_str()), ("GET", "a.example"));
        assert_eq!(row.path.chars().count(), PATH_MAX);
        assert_eq!(client(b"/run/socket"), "/run/socket");
    }
}
