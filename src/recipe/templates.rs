//! The templates: the built-in ones, an operator's own that stand over them, and how one is filled.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};

use super::{Error, File, Recipe, quote};
use crate::model::untrusted::Untrusted;

/// Every built-in template. Its name is its path below `templates`.
const BUILT_IN: &[(&str, &str)] = &[
    ("cron/crontab", include_str!("templates/cron/crontab")),
    ("cron/cron.d", include_str!("templates/cron/cron.d")),
    ("systemd/push.service", include_str!("templates/systemd/push.service")),
    ("systemd/push.timer", include_str!("templates/systemd/push.timer")),
    ("systemd/recover.service", include_str!("templates/systemd/recover.service")),
    ("nfs/exports", include_str!("templates/nfs/exports")),
    ("nfs/ganesha.conf", include_str!("templates/nfs/ganesha.conf")),
    ("nfs/fstab", include_str!("templates/nfs/fstab")),
    ("nfs/directory.mount", include_str!("templates/nfs/directory.mount")),
    ("ansible/defaults.yml", include_str!("templates/ansible/defaults.yml")),
    ("ansible/deploy.yml", include_str!("templates/ansible/deploy.yml")),
    ("ansible/depsync_apply.py", include_str!("templates/ansible/depsync_apply.py")),
    ("ansible/handlers.yml", include_str!("templates/ansible/handlers.yml")),
    ("ansible/inventory.yml", include_str!("templates/ansible/inventory.yml")),
    ("ansible/meta.yml", include_str!("templates/ansible/meta.yml")),
    ("ansible/tasks.yml", include_str!("templates/ansible/tasks.yml")),
    ("puppet/init.pp", include_str!("templates/puppet/init.pp")),
    ("puppet/metadata.json", include_str!("templates/puppet/metadata.json")),
    ("puppet/release.pp", include_str!("templates/puppet/release.pp")),
    ("puppet/site.pp", include_str!("templates/puppet/site.pp")),
    ("chef/default.rb", include_str!("templates/chef/default.rb")),
    ("chef/metadata.rb", include_str!("templates/chef/metadata.rb")),
    ("chef/release.rb", include_str!("templates/chef/release.rb")),
    ("kubernetes/Dockerfile", include_str!("templates/kubernetes/Dockerfile")),
    ("kubernetes/deployment.yaml", include_str!("templates/kubernetes/deployment.yaml")),
];

/// How a format takes a text.
type Quote = fn(&str) -> String;

/// What a template is filled with.
pub(super) type Context = Vec<(&'static str, Value)>;

/// The templates of one kind of recipe.
#[derive(Debug, Clone)]
pub struct Templates {
    named: Vec<(&'static str, String)>,
}

impl Templates {
    /// The built-in templates whose name starts with `kind` and a slash.
    pub fn built_in(kind: &str) -> Self {
        let is_wanted = |name: &str| name.split('/').next() == Some(kind);
        let wanted = BUILT_IN.iter().filter(|(name, _)| is_wanted(name));
        Self { named: wanted.map(|(name, text)| (*name, (*text).to_owned())).collect() }
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.named.iter().map(|(name, _)| *name)
    }

    /// Has `text` stand over the template `name`; nothing happens if there is none.
    pub fn replace(&mut self, name: &str, text: String) {
        if let Some((_, old)) = self.named.iter_mut().find(|(known, _)| *known == name) {
            *old = text;
        }
    }

    /// The templates themselves, as files.
    pub fn as_recipe(&self) -> Recipe {
        let file = |(name, text): &(&str, String)| File::new(*name, text.clone());
        Recipe { files: self.named.iter().map(file).collect(), next: Vec::new() }
    }

    /// The template `name` with `context` in it.
    ///
    /// # Errors
    /// [`Error::Template`]: it is not read, names what `context` does not have, or a text cannot be written in its format.
    pub(super) fn fill(&self, name: &'static str, context: &Context) -> Result<String, Error> {
        let text = self
            .named
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, text)| text.as_str())
            .unwrap_or_default();
        let mut engine = engine();
        engine
            .add_template(name, text)
            .and_then(|()| engine.get_template(name))
            .and_then(|template| template.render(Value::from_pairs(context.iter().cloned())))
            .map_err(|error| {
                let line = error.line().unwrap_or(1);
                let what = match error.kind() {
                    ErrorKind::UndefinedError => "it names a value that there is not".to_owned(),
                    kind => error.detail().map_or_else(|| kind.to_string(), str::to_owned),
                };
                let excerpt = text.lines().nth(line.saturating_sub(1)).unwrap_or_default().trim();
                let shown = |text: &str| Untrusted::new(text.as_bytes()).to_string();
                let name = name.to_owned();
                Error::Template { name, line, what: shown(&what), excerpt: shown(excerpt) }
            })
    }
}

/// A strict engine that knows the quoting filters.
fn engine() -> Environment<'static> {
    let mut engine = Environment::empty();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    if let Ok(syntax) = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()
    {
        engine.set_syntax(syntax);
    }
    let filters: [(&str, Quote); 10] = [
        ("shell", quote::shell),
        ("crontab", quote::crontab),
        ("systemd", quote::systemd),
        ("systemd_argument", quote::systemd_argument),
        ("systemd_path", quote::systemd_path),
        ("fstab", quote::fstab),
        ("exports", quote::exports),
        ("ganesha", quote::ganesha),
        ("yaml", quote::yaml),
        ("ruby", quote::ruby),
    ];
    for (name, quoted) in filters {
        engine.add_filter(name, move |text: &str| quoted(text));
    }
    engine.add_filter("systemd_value", |text: &str| {
        quote::systemd_value(text).map_err(|why| {
            minijinja::Error::new(ErrorKind::InvalidOperation, format!("'{text}' {why}"))
        })
    });
    engine
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<String, String> {
        let mut templates = Templates::built_in("cron");
        templates.replace("cron/crontab", text.to_owned());
        let context = vec![("name", Value::from("a'b %\\")), ("list", Value::from(vec!["x", "y"]))];
        templates.fill("cron/crontab", &context).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_filled_in_quoted() {
        let text = "a\n{% for item in list %}\n  {{ item }} {{ name | ruby }}\n{% endfor %}\nz\n";
        assert_eq!(filled(text).as_deref(), Ok("a\n  x 'a\\'b %\\\\'\n  y 'a\\'b %\\\\'\nz\n"));
    }

    #[test]
    fn what_is_not_known_is_refused_with_template_and_line() {
        for (text, line, word) in [
            ("a\n{{ nmae }}\n", 2, "it names a value that there is not"),
            ("a\nb\n{{ name | sehll }}\n", 3, "sehll"),
            ("{% if name %}\n", 1, ""),
            ("{{ name | systemd_value }}\n", 1, "ends with a space or a backslash"),
            ("{{ list | shell }}\n", 1, ""),
        ] {
            let refused = filled(text).expect_err(text);
            assert!(refused.starts_with("cron/crontab:"), "{refused}");
            assert!(
                refused.contains(&format!("\n  {line} | ")) && refused.contains(word),
                "{refused}"
            );
        }
    }

    #[test]
    fn every_kind_has_its_templates() {
        for kind in ["cron", "systemd", "nfs", "ansible", "puppet", "chef", "kubernetes"] {
            let recipe = Templates::built_in(kind).as_recipe();
            assert!(recipe.files.len() > 1 && recipe.text().starts_with("# --- "), "{kind}");
            assert!(recipe.files.iter().all(|file| file.text.ends_with('\n')), "{kind}");
        }
    }
}
