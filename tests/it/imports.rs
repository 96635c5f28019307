//! Who imports whom, read from the `use` lines and paths of the source: no file stands in a circle, no folder is imported by one below it.

use std::collections::{BTreeMap, BTreeSet};

use crate::architecture::code;

/// A file by its place below the crate's root: `["run", "unit", "scope"]`.
type File = Vec<String>;

/// The source's files, each with its text.
struct Tree {
    files: BTreeMap<File, String>,
    folders: BTreeSet<File>,
    /// What `pub use` gives another name: (file, name) to the path it stands for.
    reexports: BTreeMap<(File, String), Vec<String>>,
    /// Every path that a file names.
    named: BTreeMap<File, BTreeSet<Vec<String>>>,
}

impl Tree {
    fn read() -> Self {
        let mut tree = Self {
            files: BTreeMap::new(),
            folders: BTreeSet::new(),
            reexports: BTreeMap::new(),
            named: BTreeMap::new(),
        };
        for (path, text) in code() {
            let mut file: File = path
                .trim_end_matches(".rs")
                .split('/')
                .map(str::to_owned)
                .collect();
            match file.last().map(String::as_str) {
                Some("main") => continue,
                Some("mod") => {
                    file.pop();
                    tree.folders.insert(file.clone());
                }
                Some("lib") => file.clear(),
                _ => {}
            }
            tree.files.insert(file, text);
        }
        for (file, text) in tree.files.clone() {
            tree.read_file(&file, &text);
        }
        tree
    }

    fn read_file(&mut self, file: &File, text: &str) {
        let mut rest = String::new();
        for statement in text.split_inclusive(';') {
            let line = statement.trim_start();
            let is_pub = line.starts_with("pub");
            // `pub(in crate::x) use …`: the scope is no import.
            let after = line
                .find("use ")
                .filter(|at| *at == 0 || is_pub && line[..*at].trim_end().ends_with(['b', ')']));
            let Some(at) = after else {
                rest += statement;
                continue;
            };
            for path in expand(line[at + 4..].trim_end_matches(';')) {
                let Some(path) = self.absolute(file, &path) else {
                    continue;
                };
                if is_pub && let Some(name) = path.last() {
                    let key = (file.clone(), name.clone());
                    self.reexports.insert(key, path.clone());
                }
                self.named.entry(file.clone()).or_default().insert(path);
            }
        }
        let rest = rest.replace("in crate::", "");
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        for word in rest.split(|c| !is_word(c)) {
            if word.starts_with("crate::") || word.starts_with("super::") {
                let path = self.absolute(file, word.trim_end_matches(':'));
                self.named.entry(file.clone()).or_default().extend(path);
            }
        }
    }

    /// A path from the crate's root, if it leads to a file of ours.
    fn absolute(&self, file: &File, path: &str) -> Option<Vec<String>> {
        let mut base = file.clone();
        let mut segments = path.split("::").map(str::to_owned).peekable();
        match segments.peek().map(String::as_str)? {
            "crate" => base.clear(),
            "self" => {}
            "super" => {
                while segments.next_if(|s| s == "super").is_some() {
                    base.pop();
                }
                base.extend(segments);
                return Some(base);
            }
            child => {
                let mut below = file.clone();
                below.push(child.to_owned());
                self.files.get(&below)?;
                base.extend(segments);
                return Some(base);
            }
        }
        base.extend(segments.skip(1));
        Some(base)
    }

    /// The file that a path leads to, behind re-exports.
    fn file_of(&self, path: &[String], depth: usize) -> Option<File> {
        let own = (0..=path.len())
            .rev()
            .find(|n| self.files.contains_key(&path[..*n]))?;
        let file = path[..own].to_vec();
        let given = path
            .get(own)
            .and_then(|name| self.reexports.get(&(file.clone(), name.clone())));
        match given.filter(|_| depth < 6) {
            Some(target) => {
                let target: Vec<String> = target.iter().chain(&path[own + 1..]).cloned().collect();
                self.file_of(&target, depth + 1)
            }
            None => Some(file),
        }
    }

    /// Every import but those of a folder's own files by its `mod.rs`.
    fn imports(&self) -> BTreeMap<File, BTreeSet<File>> {
        let of = |file: &File, paths: &BTreeSet<Vec<String>>| {
            let targets = paths.iter().filter_map(|path| self.file_of(path, 0));
            let foreign = targets.filter(|to| to != file && !to.starts_with(file));
            foreign.collect()
        };
        self.named
            .iter()
            .map(|(file, paths)| (file.clone(), of(file, paths)))
            .collect()
    }

    fn folder_of(&self, file: &File) -> File {
        if self.folders.contains(file) {
            file.clone()
        } else {
            file[..file.len().saturating_sub(1)].to_vec()
        }
    }
}

/// The paths of a `use` tree.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((stem, list)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        return vec![path.split_whitespace().collect()];
    };
    let list = list.trim_end().strip_suffix('}').unwrap_or(list);
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in list.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        match parts.last_mut() {
            Some(last) if c != ',' || depth > 0 => last.push(c),
            _ => parts.push(String::new()),
        }
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts
        .flat_map(|part| expand(part))
        .map(|part| format!("{}{part}", stem.trim()))
        .collect()
}

/// Some circle of a graph.
fn circle(graph: &BTreeMap<File, BTreeSet<File>>) -> Option<Vec<String>> {
    // Whoever imports only what stands in no circle stands in none either.
    let mut left: BTreeMap<&File, BTreeSet<&File>> = graph
        .iter()
        .map(|(from, to)| (from, to.iter().collect()))
        .collect();
    loop {
        let free = |(_, to): &(&&File, &BTreeSet<&File>)| !to.iter().any(|t| left.contains_key(*t));
        let done: Vec<&File> = left.iter().filter(free).map(|(from, _)| *from).collect();
        if done.is_empty() {
            break;
        }
        for file in done {
            left.remove(file);
        }
    }
    let mut way: Vec<&File> = vec![left.keys().next()?];
    loop {
        let next = *left[way[way.len() - 1]]
            .iter()
            .find(|to| left.contains_key(**to))?;
        if let Some(start) = way.iter().position(|file| *file == next) {
            let names = way[start..].iter().chain([&next]);
            return Some(names.map(|file| file.join("/")).collect());
        }
        way.push(next);
    }
}

#[test]
fn no_file_stands_in_a_circle_of_imports() {
    let circle = circle(&Tree::read().imports());
    assert!(
        circle.is_none(),
        "{}",
        circle.unwrap_or_default().join(" → ")
    );
}

#[test]
fn no_top_folder_stands_in_a_circle_of_imports() {
    let mut graph: BTreeMap<File, BTreeSet<File>> = BTreeMap::new();
    for (from, to) in Tree::read().imports() {
        let top = |file: &File| file[..file.len().min(1)].to_vec();
        let others = to
            .iter()
            .map(top)
            .filter(|t| !t.is_empty() && *t != top(&from));
        graph.entry(top(&from)).or_default().extend(others);
    }
    let circle = circle(&graph);
    assert!(
        circle.is_none(),
        "{}",
        circle.unwrap_or_default().join(" → ")
    );
}

#[test]
fn no_folder_is_imported_by_one_below_it() {
    let tree = Tree::read();
    for (from, targets) in tree.imports() {
        for to in targets {
            let (below, above) = (tree.folder_of(&from), tree.folder_of(&to));
            let is_up = !above.is_empty() && below.len() > above.len() && below.starts_with(&above);
            assert!(
                !is_up,
                "src/{} imports src/{}",
                from.join("/"),
                to.join("/")
            );
        }
    }
}

#[test]
fn a_use_tree_is_read_whole() {
    let paths = expand("a::{b, c::{d, e as f},\n g}");
    assert_eq!(paths, ["a::b", "a::c::d", "a::c::e", "a::g"]);
    assert_eq!(expand("a::{b, c::{d, e}}"), ["a::b", "a::c::d", "a::c::e"]);
}

#[test]
fn a_circle_is_found_and_told() {
    let file = |name: &str| vec![name.to_owned()];
    let graph = |edges: &[(&str, &str)]| {
        let mut graph: BTreeMap<File, BTreeSet<File>> = BTreeMap::new();
        for (from, to) in edges {
            graph.entry(file(from)).or_default().insert(file(to));
        }
        circle(&graph).map(|way| way.join(" → "))
    };
    assert_eq!(graph(&[("a", "b"), ("b", "c"), ("a", "c")]), None);
    let told = graph(&[("a", "b"), ("b", "c"), ("c", "b")]).expect("a circle");
    assert_eq!(told, "b → c → b");
}
