//! A path → the route that the user gave for it, such as `/users/{id}`; never guessed.

use std::str::FromStr;

/// Routes in the order in which they are tried.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Routes(pub Vec<Route>);

/// A path with places for what differs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Segment {
    /// Exactly this.
    Literal(String),
    /// `{name}` or `*`: one segment, whatever it is.
    One,
    /// `**` at the end: all that follows, if anything does.
    Rest,
}

impl Routes {
    /// The first route that `path` is on.
    pub fn of(&self, path: &str) -> Option<&str> {
        self.0.iter().find(|route| route.leads(path)).map(|route| route.text.as_str())
    }
}

impl Route {
    fn leads(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else { return false };
        let mut parts = path.split('/');
        for segment in &self.segments {
            match (segment, parts.next()) {
                (Segment::Rest, _) => return true,
                (Segment::Literal(literal), Some(part)) if literal == part => {}
                (Segment::One, Some(part)) if !part.is_empty() => {}
                _ => return false,
            }
        }
        parts.next().is_none()
    }
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix('/') else {
            return Err(format!("{text:?} is no route; use a path such as /users/{{id}}"));
        };
        let mut segments = Vec::new();
        for part in path.split('/') {
            if segments.last() == Some(&Segment::Rest) {
                return Err(format!("{text:?} goes on after **"));
            }
            let inner = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
            segments.push(match (part, inner) {
                ("**", _) => Segment::Rest,
                ("*", _) | (_, Some(_)) => Segment::One,
                (literal, None) if literal.contains(['{', '}', '*']) => {
                    return Err(format!("{text:?} is no route: a segment is a text, {{name}}, * or, at the end, **"));
                }
                (literal, None) => Segment::Literal(literal.to_owned()),
            });
        }
        Ok(Self { text: text.to_owned(), segments })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(texts: &[&str]) -> Routes {
        Routes(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn a_path_is_on_the_first_route_that_leads_there() {
        let routes = routes(&["/", "/users/me", "/users/{id}", "/users/{id}/orders/*", "/static/**"]);
        for (path, wanted) in [
            ("/", Some("/")),
            ("/users/me", Some("/users/me")),
            ("/users/42", Some("/users/{id}")),
            ("/users/", None),
            ("/users/42/", None),
            ("/users/42/orders/7", Some("/users/{id}/orders/*")),
            ("/users/42/orders", None),
            ("/static/js/app.js", Some("/static/**")),
            ("/static", Some("/static/**")),
            ("/other", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(routes.of(path), wanted, "{path:?}");
        }
    }

    #[test]
    fn what_is_no_route_is_refused() {
        for text in ["", "users", "/a{id}", "/**/x", "/x*"] {
            assert!(text.parse::<Route>().is_err(), "{text}");
        }
    }
}
