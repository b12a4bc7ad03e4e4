//! What all commands copy, as one configuration: a source, its trees, and the places they go to.

use std::collections::BTreeSet;

use super::pattern::Anchor;

/// Where one command copies to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// A target.
    Target(String),
    /// For each line of `file`: what stands before it, the line, and what stands behind it.
    Lines { file: String, before: String, after: String },
}

/// One source going to one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) line: Option<usize>,
    /// Absolute, without a slash at the end.
    pub(super) source: String,
    /// What rsync adds to the place, as there is no slash at the source's end, or by `-R`: the end of `source`.
    pub(super) suffix: Option<String>,
    pub(super) place: Place,
    /// The number of the command, whose options it has.
    pub(super) call: usize,
}

/// One configuration.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Combined {
    pub(super) source: String,
    pub(super) trees: Vec<String>,
    pub(super) places: Vec<Place>,
    /// The commands that are in it, and where their patterns start.
    pub(super) calls: Vec<(usize, Anchor)>,
    /// Copies that another configuration is needed for.
    pub(super) left_over: Vec<Copy>,
}

/// What goes from one directory.
struct Group {
    source: String,
    suffix: Option<String>,
    copies: Vec<Copy>,
}

/// Combines as much as one configuration can say; the rest is left over.
pub(super) fn combine(copies: Vec<Copy>) -> Combined {
    let mut groups: Vec<Group> = Vec::new();
    for copy in copies {
        let same = |group: &&mut Group| group.source == copy.source && group.suffix == copy.suffix;
        match groups.iter_mut().find(same) {
            Some(group) => group.copies.push(copy),
            None => groups.push(Group {
                source: copy.source.clone(),
                suffix: copy.suffix.clone(),
                copies: vec![copy],
            }),
        }
    }
    if let Some(combined) = as_trees(&groups) {
        return combined;
    }
    // The directory that goes to most places is the one.
    let most = groups.iter().map(|group| group.copies.len()).max().unwrap_or_default();
    let Some(at) = groups.iter().position(|group| group.copies.len() == most) else {
        return Combined::default();
    };
    let chosen = groups.remove(at);
    let left_over = groups.into_iter().flat_map(|group| group.copies).collect();
    let combined = as_trees(std::slice::from_ref(&chosen)).unwrap_or_else(|| alone(&chosen));
    Combined { left_over, ..combined }
}

/// One directory, the contents of which go to every place.
fn alone(group: &Group) -> Combined {
    let places = unique(group.copies.iter().map(|copy| copy.place.clone()).collect());
    let anchor = Anchor { above: group.suffix.clone(), below: None };
    Combined {
        source: group.source.clone(),
        trees: Vec::new(),
        places: places.iter().map(|place| place.with_suffix(group.suffix.as_deref())).collect(),
        calls: calls(group, &anchor),
        left_over: Vec::new(),
    }
}

fn calls(group: &Group, anchor: &Anchor) -> Vec<(usize, Anchor)> {
    let numbers: BTreeSet<usize> = group.copies.iter().map(|copy| copy.call).collect();
    numbers.into_iter().map(|number| (number, anchor.clone())).collect()
}

/// The places without what is there twice, in their order.
fn unique(places: Vec<Place>) -> Vec<Place> {
    let mut seen = BTreeSet::new();
    let mut unique = Vec::new();
    for place in places {
        if seen.insert(place.clone()) {
            unique.push(place);
        }
    }
    unique
}

/// The groups as trees below one home, if each goes to the same place below the same homes on the nodes.
///
/// One group alone becomes a tree only if its places are lines of a file, which stay as they are that way.
fn as_trees(groups: &[Group]) -> Option<Combined> {
    let home = match groups {
        [] => return None,
        [one] => lone_home(one)?,
        _ => common_home(groups)?,
    };
    let mut trees = Vec::new();
    let mut roots: Option<Vec<Place>> = None;
    let mut numbers = Vec::new();
    for group in groups {
        let tree = below(&group.source, &home)?;
        let mut own = Vec::new();
        for copy in &group.copies {
            own.push(copy.place.with_suffix(group.suffix.as_deref()).without_tail(tree)?);
        }
        let own = unique(own);
        match &roots {
            None => roots = Some(own),
            Some(roots) => {
                let same = roots.len() == own.len()
                    && roots.iter().collect::<BTreeSet<_>>() == own.iter().collect();
                same.then_some(())?;
            }
        }
        // rsync's patterns start above the tree if there was no slash.
        let start = match &group.suffix {
            None => tree,
            Some(suffix) => tree.strip_suffix(suffix.as_str())?.trim_end_matches('/'),
        };
        let anchor = Anchor { above: None, below: (!start.is_empty()).then(|| start.to_owned()) };
        numbers.extend(calls(group, &anchor));
        trees.push(tree.to_owned());
    }
    let mut combined =
        Combined { source: home, trees, places: roots?, calls: numbers, left_over: Vec::new() };
    combined.lift();
    Some(combined)
}

impl Combined {
    /// WSO2's trees are told from the server's home, one above `repository`, where that can be.
    fn lift(&mut self) {
        const REPOSITORY: &str = "repository";
        let Some(home) = self.source.strip_suffix(REPOSITORY).and_then(|it| it.strip_suffix('/'))
        else {
            return;
        };
        let lifted: Option<Vec<Place>> =
            self.places.iter().map(|place| place.clone().without_tail(REPOSITORY)).collect();
        let (false, Some(places)) = (home.is_empty(), lifted) else { return };
        self.source = home.to_owned();
        self.places = places;
        for tree in &mut self.trees {
            *tree = format!("{REPOSITORY}/{tree}");
        }
        for (_, anchor) in &mut self.calls {
            anchor.below = Some(match &anchor.below {
                Some(below) => format!("{REPOSITORY}/{below}"),
                None => REPOSITORY.to_owned(),
            });
        }
    }
}

/// The home of which one directory is the tree.
fn lone_home(group: &Group) -> Option<String> {
    let Place::Lines { after, .. } = &group.copies.first()?.place else { return None };
    let tail = match &group.suffix {
        Some(suffix) => format!("{}/{suffix}", after.trim_end_matches('/')),
        None => after.trim_end_matches('/').to_owned(),
    };
    let home = group.source.strip_suffix(tail.as_str()).filter(|_| tail.starts_with('/'))?;
    Some(if home.is_empty() { "/".to_owned() } else { home.to_owned() })
}

/// The deepest directory that all sources are below.
fn common_home(groups: &[Group]) -> Option<String> {
    let parent = |path: &str| path.rsplit_once('/').map(|(parent, _)| parent.to_owned());
    let mut home = parent(&groups.first()?.source)?;
    while !groups.iter().all(|group| below(&group.source, &home).is_some()) {
        home = parent(&home)?;
    }
    (!home.is_empty()).then_some(home)
}

/// The path of `source` from `home`.
fn below<'a>(source: &'a str, home: &str) -> Option<&'a str> {
    source.strip_prefix(home.trim_end_matches('/'))?.strip_prefix('/').filter(|it| !it.is_empty())
}

impl Place {
    /// The place with `suffix` below it.
    fn with_suffix(&self, suffix: Option<&str>) -> Self {
        let Some(suffix) = suffix else { return self.clone() };
        let join = |text: &str| {
            // `host:` is the home of the login user.
            let gap = if text.ends_with(':') { "" } else { "/" };
            format!("{}{gap}{suffix}", text.trim_end_matches('/'))
        };
        match self {
            Self::Target(target) => Self::Target(join(target)),
            Self::Lines { file, before, after } => {
                Self::Lines { file: file.clone(), before: before.clone(), after: join(after) }
            }
        }
    }

    /// The place that has this one as `tail` below it.
    fn without_tail(self, tail: &str) -> Option<Self> {
        let cut = |text: &str| {
            let text = text.trim_end_matches('/').strip_suffix(tail)?.strip_suffix('/')?;
            Some(text.to_owned())
        };
        match self {
            Self::Target(target) => {
                // Neither the root nor a bare home can be a target.
                let target = cut(&target).filter(|it| !it.is_empty() && !it.ends_with(':'))?;
                Some(Self::Target(target))
            }
            Self::Lines { file, before, after } => {
                Some(Self::Lines { file, before, after: cut(&after)? })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(source: &str, suffix: Option<&str>, place: Place) -> Copy {
        Copy { line: None, source: source.into(), suffix: suffix.map(Into::into), place, call: 0 }
    }

    fn target(text: &str) -> Place {
        Place::Target(text.into())
    }

    fn lines(after: &str) -> Place {
        Place::Lines { file: "/list".into(), before: String::new(), after: after.into() }
    }

    fn told(copies: &[(&str, Option<&str>, Place)]) -> (String, Vec<String>, Vec<Place>, usize) {
        let copies =
            copies.iter().map(|(source, suffix, place)| copy(source, *suffix, place.clone()));
        let combined = combine(copies.collect());
        (combined.source, combined.trees, combined.places, combined.left_over.len())
    }

    #[test]
    fn one_directory_goes_to_all_places() {
        assert_eq!(
            told(&[
                ("/a/s", None, target("h:/x")),
                ("/a/s", None, target("i:/x")),
                ("/a/s", None, target("h:/x"))
            ]),
            ("/a/s".into(), vec![], vec![target("h:/x"), target("i:/x")], 0)
        );
        assert_eq!(told(&[("/a/s", None, lines(""))]), ("/a/s".into(), vec![], vec![lines("")], 0));
    }

    #[test]
    fn without_a_slash_the_name_belongs_to_the_target() {
        assert_eq!(
            told(&[("/a/s", Some("s"), target("h:/x/"))]),
            ("/a/s".into(), vec![], vec![target("h:/x/s")], 0)
        );
        assert_eq!(told(&[("/a/s", Some("s"), target("h:"))]).2, [target("h:s")]);
        // Lines stay as they are: the name becomes a tree.
        assert_eq!(
            told(&[("/a/s", Some("s"), lines(""))]),
            ("/a".into(), vec!["s".into()], vec![lines("")], 0)
        );
    }

    #[test]
    fn directories_below_one_home_are_trees() {
        let server = "/o/mi/repository/deployment/server";
        let tenants = "/o/mi/repository/tenants";
        let trees =
            vec!["repository/deployment/server".to_owned(), "repository/tenants".to_owned()];
        assert_eq!(
            told(&[
                (server, None, target("h:/r/repository/deployment/server")),
                (server, None, target("i:/r/repository/deployment/server/")),
                (tenants, Some("tenants"), target("i:/r/repository")),
                (tenants, Some("tenants"), target("h:/r/repository/")),
            ]),
            ("/o/mi".into(), trees.clone(), vec![target("h:/r"), target("i:/r")], 0)
        );
        assert_eq!(
            told(&[
                (server, None, lines("/repository/deployment/server")),
                (tenants, None, lines("/repository/tenants"))
            ]),
            ("/o/mi".into(), trees, vec![lines("")], 0)
        );
        assert_eq!(
            told(&[(server, None, lines("/repository/deployment/server/"))]),
            ("/o/mi".into(), vec!["repository/deployment/server".into()], vec![lines("")], 0)
        );
    }

    #[test]
    fn what_does_not_correspond_is_left_over() {
        for places in [
            [target("h:/r/server"), target("h:/r/other")],
            [target("h:/r/a"), target("i:/r/b")],
            [lines(""), lines("")],
            [target("h:a"), target("h:b")],
        ] {
            let [one, two] = places;
            let (source, trees, _, left_over) = told(&[("/s/a", None, one), ("/s/b", None, two)]);
            assert_eq!((source.as_str(), trees.len(), left_over), ("/s/a", 0, 1));
        }
        assert_eq!(combine(Vec::new()), Combined::default());
    }

    #[test]
    fn patterns_start_where_rsync_started() {
        let start = |source: &str, suffix: Option<&str>, place: Place| {
            combine(vec![copy(source, suffix, place)]).calls[0].1.clone()
        };
        let anchor = |above: Option<&str>, below: Option<&str>| Anchor {
            above: above.map(Into::into),
            below: below.map(Into::into),
        };
        assert_eq!(start("/a/s", None, target("h:/x")), anchor(None, None));
        assert_eq!(start("/a/s", Some("s"), target("h:/x")), anchor(Some("s"), None));
        assert_eq!(start("/a/s", Some("s"), lines("")), anchor(None, None));
        assert_eq!(
            start("/a/repository/s", None, lines("/repository/s")),
            anchor(None, Some("repository/s"))
        );
    }
}
