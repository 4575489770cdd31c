//! Tests of the decision core, rule by rule; what they make together is checked by `model.rs`.

mod properties;

use crate::core::*;
use std::collections::BTreeSet;

fn generation(number: u64, id: u64, origin: &str) -> Generation {
    Generation { number, id, origin: origin.to_owned() }
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn reach(number: u64, id: u64, change: u64) -> Reach {
    Reach { number, id, change }
}

/// Generation 3 of `a`, with these nodes in sync by its change 4.
fn record(in_sync: &[&str]) -> Record {
    Record {
        generation: generation(3, 0x33, "a"),
        upon: Some(reach(2, 0x22, 5)),
        change: 4,
        shared: 4,
        dataset: 7,
        filled: true,
        in_sync: set(in_sync),
    }
}

/// Opened by `b` upon that.
fn next() -> Record {
    Record {
        generation: generation(4, 0x44, "b"),
        upon: Some(reach(3, 0x33, 4)),
        change: 0,
        shared: 0,
        in_sync: set(&["b"]),
        ..record(&[])
    }
}

fn own(record: &Record, standing: Standing) -> Own {
    Own { latest: Some(record.clone()), standing }
}

const LEADS: Standing = Standing::Source { confirmed: true };
const OPENED: Standing = Standing::Source { confirmed: false };

fn said(number: u64, id: u64, change: u64) -> Said {
    Said { number, id, change, tree: Tree::Filled }
}

fn view(me: &str, record: Option<Record>) -> View {
    let others = ["a", "b", "c"].into_iter().filter(|name| *name != me);
    View {
        me: me.to_owned(),
        quorum: true,
        record,
        others: others.map(|name| (name.to_owned(), None)).collect(),
        tree: Tree::Filled,
        initial_source: None,
        adopt: None,
    }
}

fn hears(mut view: View, who: &str, what: Said) -> View {
    for (name, said) in &mut view.others {
        if name == who {
            *said = Some(what.clone());
        }
    }
    view
}

/// A first start: the trees of the two others, `None` for one that says nothing.
fn fresh(me: &str, tree: Tree, others: [Option<Tree>; 2]) -> View {
    let mut view = View { tree, ..view(me, None) };
    for ((_, said), tree) in view.others.iter_mut().zip(others) {
        *said = tree.map(|tree| Said { number: 0, id: 0, change: 0, tree });
    }
    view
}

fn refused(own: &Own, view: &View) -> Refusal {
    promote(own, view, 9, 9).unwrap_err()
}

#[test]
fn the_record_as_it_stands_in_the_cluster() {
    let text = "generation=3 id=0000000000000033 origin=a upon=2/0000000000000022/5 change=4 shared=4 \
                dataset=0000000000000007 filled=yes in-sync=a,b";
    assert_eq!(record(&["a", "b"]).to_string(), text);
    assert_eq!(text.parse(), Ok(record(&["a", "b"])));
    assert_eq!(Record { upon: None, ..next() }.to_string().parse(), Ok(Record { upon: None, ..next() }));
    for (from, to) in [
        ("generation=3", "generation=+3"),
        ("generation=3", "generation=03"),
        ("generation=3", "generation=-3"),
        ("generation=3", "generation=99999999999999999999"),
        ("id=0000000000000033", "id=33"),
        ("id=0000000000000033", "id=000000000000003G"),
        ("upon=2/0000000000000022/5", "upon=2/0000000000000022"),
        ("upon=2/0000000000000022/5", "upon=2/0000000000000022/5/6"),
        ("upon=2/0000000000000022/5", "upon="),
        ("filled=yes", "filled=YES"),
        ("filled=yes", "filled=yes filled=no"),
        ("in-sync=a,b", "in-sync=b,a"),
        ("in-sync=a,b", "in-sync=a,,b"),
        ("in-sync=a,b", "in-sync=a,b "),
        ("in-sync=a,b", "in-sync=a,b future=1"),
        (" change=4", ""),
        (" shared=4", ""),
        ("generation=3 ", ""),
    ] {
        let hostile = text.replace(from, to);
        assert!(hostile.parse::<Record>().is_err(), "{hostile}");
    }
    for hostile in ["", " ", "\n", "generation", &text.to_uppercase(), &format!("{text}\n")] {
        assert!(hostile.parse::<Record>().is_err(), "{hostile:?}");
    }
}

#[test]
fn a_generation_is_written_before_it_is_open() {
    let before = own(&record(&["a", "b"]), Standing::InSync);
    let view = view("b", Some(record(&["a", "b"])));
    let opened_record = promote(&before, &view, 0x44, 9).unwrap();
    assert_eq!(opened_record, next());
    let opening = opening(&before, view.record.as_ref(), &opened_record);
    assert!(!opening.is_source());
    assert!(!opening.accepts(&next().generation) && !opening.accepts(&record(&[]).generation));
    assert_eq!(opening.said(Tree::Filled), said(3, 0x33, 4), "what is not open is not told");
    // Seen in the cluster.
    let source = opened(&opening, Some(&next()));
    assert_eq!(source, own(&next(), OPENED));
    assert_eq!(source.said(Tree::Empty), Said { tree: Tree::Empty, ..said(4, 0x44, 0) });
    // Not there (yet): as the process may be about to write it, it stays.
    assert_eq!(opened(&opening, Some(&record(&["a", "b"]))), opening);
    assert_eq!(opened(&opening, None), opening);
    // It cannot arrive any more: what it is to replace is gone.
    let changed_record = Record { change: 5, shared: 5, ..record(&["a", "b"]) };
    assert_eq!(opened(&opening, Some(&changed_record)), own(&changed_record, Standing::InSync));
    let others = Record { generation: generation(4, 0x45, "c"), ..next() };
    assert_eq!(opened(&opening, Some(&others)), own(&others, Standing::Behind));
}

#[test]
fn an_opening_that_was_interrupted_is_tried_again_or_found_done() {
    let before = own(&record(&["a", "b"]), Standing::InSync);
    let view = view("b", Some(record(&["a", "b"])));
    let once = opening(&before, view.record.as_ref(), &next());
    let again = promote(&once, &view, 0x55, 9).unwrap();
    assert_eq!(again.generation, generation(4, 0x55, "b"));
    let twice = opening(&once, view.record.as_ref(), &again);
    assert_eq!(twice.said(Tree::Filled), said(3, 0x33, 4));
    // The first one's write arrives after all: it is this node's as well, and nobody else has it.
    assert_eq!(learn(&twice, Some(&next())), own(&next(), OPENED));
}

#[test]
fn refused_without_quorum() {
    let own = own(&record(&["a", "b"]), Standing::InSync);
    let view = View { quorum: false, ..view("b", Some(record(&["a", "b"]))) };
    assert_eq!(refused(&own, &view), Refusal::NoQuorum);
    assert!(promote(&own, &View { quorum: true, ..view }, 9, 9).is_ok());
}

#[test]
fn refused_with_an_empty_tree_whose_dataset_is_not() {
    let own = own(&record(&["a", "b"]), Standing::InSync);
    let view = View { tree: Tree::Empty, ..view("b", Some(record(&["a", "b"]))) };
    assert_eq!(refused(&own, &view), Refusal::EmptyTree);
    let empty = Record { filled: false, ..record(&["a", "b"]) };
    let never_filled = Own { latest: Some(empty.clone()), ..own };
    let opened = promote(&never_filled, &View { record: Some(empty), ..view }, 9, 9).unwrap();
    assert!(!opened.filled);
}

#[test]
fn refused_when_not_in_sync() {
    let in_set = record(&["a", "b"]);
    for (own, record) in [
        (Own::default(), &in_set),
        (own(&in_set, Standing::Behind), &in_set),
        (own(&record(&["a"]), Standing::InSync), &record(&["a"])),
        (own(&in_set, Standing::InSync), &next()),
        (own(&record(&["a", "c"]), LEADS), &record(&["a", "c"])),
    ] {
        let view = view("b", Some(record.clone()));
        assert_eq!(
            refused(&own, &View { me: "x".into(), ..view.clone() }),
            Refusal::NotInSync(record.generation.clone())
        );
        if record.generation.origin != "b" {
            assert_eq!(refused(&own, &view), Refusal::NotInSync(record.generation.clone()), "{own:?}");
        }
    }
    // Taken out since, and this node does not know yet.
    let own = own(&in_set, Standing::InSync);
    let out = Record { change: 5, shared: 4, ..record(&["a"]) };
    assert_eq!(refused(&own, &view("b", Some(out.clone()))), Refusal::NotInSync(out.generation));
}

#[test]
fn refused_while_another_node_knows_better() {
    let own = own(&record(&["a", "b"]), Standing::InSync);
    let view = view("b", Some(record(&["a", "b"])));
    for newer in [said(4, 0x99, 0), said(3, 0x33, 5), said(3, 0x34, 0)] {
        let heard = refused(&own, &hears(view.clone(), "c", newer.clone()));
        assert_eq!(heard, Refusal::NewerElsewhere { node: "c".into(), number: newer.number });
    }
    for older in [said(0, 0, 0), said(2, 0x99, 9), said(3, 0x33, 4)] {
        assert!(promote(&own, &hears(view.clone(), "c", older), 9, 9).is_ok());
    }
}

/// The record that this node itself opened, and nobody joined: who knows of acknowledgements since is asked before it goes on.
#[test]
fn refused_where_its_own_opening_was_in_ignorance() {
    let own = own(&next(), OPENED);
    let view = view("b", Some(next()));
    let opened = promote(&own, &hears(view.clone(), "a", said(3, 0x33, 4)), 9, 9).unwrap();
    assert_eq!(
        (opened.generation.number, opened.upon),
        (5, Some(reach(3, 0x33, 4))),
        "it bears witness to no more"
    );
    let heard = hears(view, "a", said(3, 0x33, 5));
    assert_eq!(refused(&own, &heard), Refusal::NewerElsewhere { node: "a".into(), number: 3 });
    assert_eq!(score(&own, &heard), None, "and Pacemaker is to take the role away");
}

#[test]
fn refused_when_the_cluster_lost_its_record() {
    let others = own(&record(&["a", "b"]), Standing::InSync);
    assert_eq!(refused(&others, &view("b", None)), Refusal::RecordLost(record(&[]).generation));
    for standing in [LEADS, Standing::InSync] {
        assert!(promote(&own(&record(&["a", "b"]), standing), &view("a", None), 9, 9).is_ok());
    }
    let behind = own(&record(&["a", "b"]), Standing::Behind);
    assert!(matches!(refused(&behind, &view("a", None)), Refusal::RecordLost(_)));
    let heard = hears(view("a", None), "b", said(4, 1, 0));
    assert!(matches!(
        refused(&own(&record(&["a"]), LEADS), &heard),
        Refusal::NewerElsewhere { number: 4, .. }
    ));
}

#[test]
fn where_the_cluster_has_gone_back_what_the_node_knows_counts() {
    let older = Record { change: 3, shared: 3, ..record(&["a", "b", "c"]) };
    let in_set = own(&record(&["a", "b"]), Standing::InSync);
    let opened = promote(&in_set, &view("b", Some(older.clone())), 9, 9).unwrap();
    assert_eq!(opened.upon, Some(reach(3, 0x33, 4)));
    assert!(
        matches!(refused(&in_set, &view("c", Some(older))), Refusal::NotInSync(_)),
        "c is out by the newer one"
    );
}

#[test]
fn what_was_opened_in_ignorance_is_passed_over() {
    let acknowledged_since = Record { change: 5, shared: 5, ..record(&["a", "c"]) };
    for standing in [Standing::InSync, LEADS] {
        let knows = own(&acknowledged_since, standing);
        assert_eq!(learn(&knows, Some(&next())), knows);
        let view = hears(view("c", Some(next())), "b", said(4, 0x44, 0));
        let opened = promote(&knows, &view, 9, 9).unwrap();
        assert_eq!(
            (opened.generation.number, opened.upon),
            (5, Some(reach(3, 0x33, 5))),
            "higher than either"
        );
        // Not once somebody has joined it.
        let joined = Record { change: 1, shared: 1, in_sync: set(&["a", "b"]), ..next() };
        assert_eq!(learn(&knows, Some(&joined)), own(&joined, Standing::Behind));
    }
    // Who has no part in what was acknowledged follows, and so does a source that was alone since.
    let behind = own(&acknowledged_since, Standing::Behind);
    assert_eq!(learn(&behind, Some(&next())), own(&next(), Standing::Behind));
    let alone = own(&Record { change: 5, ..record(&["a"]) }, LEADS);
    assert_eq!(learn(&alone, Some(&next())), own(&next(), Standing::Behind));
}

#[test]
fn adopting_is_asked_for_by_number_and_only_of_the_newest() {
    let behind = own(&record(&["a"]), Standing::Behind);
    let asked = |adopt| View { adopt, ..view("b", Some(record(&["a"]))) };
    assert!(matches!(refused(&behind, &asked(None)), Refusal::NotInSync(_)));
    assert!(matches!(refused(&behind, &asked(Some(2))), Refusal::NotInSync(_)));
    let adopted = promote(&behind, &asked(Some(3)), 0x44, 9).unwrap();
    assert_eq!((adopted.generation.number, adopted.dataset), (4, 7));
    assert!(promote(&behind, &hears(asked(Some(3)), "c", said(3, 0x33, 9)), 9, 9).is_ok());
    assert!(matches!(refused(&behind, &hears(asked(Some(3)), "c", said(4, 1, 0))), Refusal::NotInSync(_)));
    let knows_newer = own(&next(), Standing::Behind);
    assert!(promote(&knows_newer, &asked(Some(3)), 9, 9).is_err(), "this node itself knows of a newer one");
    // Nobody passes it over, whatever was acknowledged.
    let knows = own(&Record { change: 99, shared: 99, ..record(&["a", "c"]) }, Standing::InSync);
    assert_eq!(learn(&knows, Some(&adopted)), own(&adopted, Standing::Behind));
    let lost = View { record: None, ..asked(Some(3)) };
    assert!(promote(&behind, &lost, 9, 9).is_ok());
}

#[test]
fn first_start() {
    use Tree::{Empty, Filled};
    let first = |view: &View| promote(&Own::default(), view, 0x11, 0x77);
    let opened = first(&fresh("a", Filled, [Some(Empty), Some(Empty)])).unwrap();
    assert_eq!(opened.generation, generation(1, 0x11, "a"));
    assert_eq!((opened.dataset, opened.filled, opened.upon), (0x77, true, None));
    assert_eq!(opened.in_sync, set(&["a"]));
    let opened = first(&fresh("a", Empty, [Some(Empty), Some(Empty)])).unwrap();
    assert!(!opened.filled, "nobody has data: any may begin");

    let data =
        |names: &[&str]| Err(Refusal::DataElsewhere(names.iter().map(|it| (*it).to_owned()).collect()));
    assert_eq!(first(&fresh("a", Empty, [Some(Filled), Some(Empty)])), data(&["b"]));
    assert_eq!(first(&fresh("a", Filled, [Some(Filled), Some(Empty)])), data(&["b"]));
    assert_eq!(first(&fresh("b", Empty, [Some(Filled), Some(Filled)])), data(&["a", "c"]));
    let silent = Err(Refusal::Waiting(vec!["c".to_owned()]));
    assert_eq!(first(&fresh("a", Filled, [Some(Empty), None])), silent);
    assert_eq!(first(&fresh("a", Empty, [Some(Empty), None])), silent);

    let named = |name: &str, view: View| View { initial_source: Some(name.to_owned()), ..view };
    let waited = fresh("a", Filled, [Some(Filled), None]);
    assert!(first(&named("a", waited.clone())).is_ok());
    assert_eq!(first(&named("b", waited)), Err(Refusal::NotInitial("b".to_owned())));
    assert_eq!(first(&named("a", fresh("a", Empty, [Some(Filled), None]))), data(&["b"]), "named, but empty");
    assert_eq!(first(&named("a", fresh("a", Empty, [Some(Empty), None]))), silent);
    let known = hears(fresh("a", Filled, [Some(Empty), Some(Empty)]), "c", said(3, 1, 0));
    let newer = Err(Refusal::NewerElsewhere { node: "c".to_owned(), number: 3 });
    assert_eq!(first(&known), newer);
    assert_eq!(first(&named("a", known)), newer, "being named is no leave to go back");
}

#[test]
fn learning() {
    let here = record(&["a", "b"]);
    let later = Record { change: 5, shared: 5, ..record(&["a"]) };
    assert_eq!(learn(&Own::default(), None), Own::default());
    assert_eq!(learn(&Own::default(), Some(&here)), own(&here, Standing::Behind));
    for standing in [Standing::InSync, Standing::Behind, LEADS, OPENED] {
        let knows = own(&here, standing.clone());
        assert_eq!(learn(&knows, None), knows, "a cluster that knows nothing");
        assert_eq!(learn(&knows, Some(&later)), own(&later, standing.clone()));
        assert_eq!(
            learn(&own(&later, standing.clone()), Some(&here)),
            own(&later, standing.clone()),
            "gone back"
        );
        assert_eq!(learn(&knows, Some(&next())), own(&next(), Standing::Behind));
        assert_eq!(learn(&own(&next(), standing.clone()), Some(&here)), own(&next(), standing));
    }
    // Made anew by the administrator: the numbers begin again.
    let anew = Record { generation: generation(1, 0x11, "c"), dataset: 8, ..here.clone() };
    for standing in [Standing::InSync, Standing::Behind, LEADS, OPENED] {
        assert_eq!(learn(&own(&here, standing), Some(&anew)), own(&anew, Standing::Behind));
    }
    // Opened twice with one number.
    let twin = Record {
        generation: generation(3, 0x34, "c"),
        change: 0,
        shared: 0,
        in_sync: set(&["c"]),
        ..here.clone()
    };
    for standing in [Standing::InSync, LEADS] {
        let joined = own(&here, standing);
        assert_eq!(learn(&joined, Some(&twin)), joined);
    }
    for standing in [Standing::Behind, OPENED] {
        assert_eq!(learn(&own(&here, standing), Some(&twin)), own(&twin, Standing::Behind));
    }
    let nobody_joined = own(&twin, Standing::InSync);
    assert_eq!(learn(&nobody_joined, Some(&here)), own(&here, Standing::Behind));
}

#[test]
fn pushes_and_passes() {
    let here = record(&["a", "b"]);
    let behind = own(&here, Standing::Behind);
    assert!(behind.accepts(&here.generation) && sets_aside(&behind));
    let forged = [
        generation(3, 0x34, "a"),
        generation(3, 0x33, "c"),
        generation(2, 0x33, "a"),
        generation(4, 0x33, "a"),
    ];
    for other in &forged {
        assert!(!behind.accepts(other));
        assert_eq!(completed(&behind, other), behind);
    }
    let in_sync = completed(&behind, &here.generation);
    assert_eq!(in_sync.standing, Standing::InSync);
    assert!(in_sync.accepts(&here.generation) && !sets_aside(&in_sync));
    assert!(sets_aside(&learn(&in_sync, Some(&next()))), "each new generation anew");
    for standing in [LEADS, OPENED] {
        let source = own(&here, standing);
        assert!(!source.accepts(&here.generation));
        assert_eq!(completed(&source, &here.generation), source);
        assert_eq!(demoted(&source), own(&here, Standing::InSync));
    }
    assert_eq!(demoted(&behind), behind);
    assert!(!Own::default().accepts(&here.generation));
}

#[test]
fn who_is_in_sync_is_changed_by_the_source_alone() {
    let here = record(&["a", "b"]);
    let source = own(&here, LEADS);
    let sees = view("a", Some(here.clone()));
    let with = joined(&source, &sees, "c").unwrap();
    assert_eq!((with.change, with.shared, &with.in_sync), (5, 5, &set(&["a", "b", "c"])));
    let without = left(&source, &sees, "b").unwrap();
    assert_eq!(
        (without.change, without.shared, &without.in_sync),
        (5, 4, &set(&["a"])),
        "alone, it shares nothing more"
    );
    assert_eq!(joined(&source, &sees, "b"), None);
    assert_eq!(left(&source, &sees, "c"), None);
    assert_eq!(left(&source, &sees, "a"), None, "never itself");
    for (own, view) in [
        (source.clone(), View { quorum: false, ..sees.clone() }),
        (source.clone(), view("a", None)),
        (source.clone(), view("a", Some(Record { change: 5, ..here.clone() }))),
        (source.clone(), view("a", Some(next()))),
        (own(&here, Standing::InSync), sees.clone()),
        (own(&here, Standing::Behind), sees.clone()),
    ] {
        assert_eq!((joined(&own, &view, "c"), left(&own, &view, "b")), (None, None), "{own:?} {view:?}");
        let have = [("b".to_owned(), said(3, 0x33, 4))];
        assert!(!acknowledged(&own, &view, &have, 1));
    }
    // On its disk first; from then on what the cluster has is not what it goes by, until they agree.
    let decided = changing(&source, &with);
    assert_eq!(decided, own(&with, LEADS));
    assert_eq!(joined(&decided, &sees, "d"), None);
    assert_eq!(restored(&decided, &sees), Some(with.clone()), "and it is written until it is there");
    assert_eq!(changing(&decided, &here), decided, "never back");
    assert_eq!(changing(&source, &next()), source, "never another's");
    let replica = own(&here, Standing::InSync);
    assert_eq!(changing(&replica, &with), replica);
    assert_eq!(confirmed(&own(&with, OPENED), &with), own(&with, LEADS));
    assert_eq!(confirmed(&own(&next(), OPENED), &next()), own(&next(), OPENED), "not by its opening alone");
    assert_eq!(confirmed(&own(&with, OPENED), &here), own(&with, OPENED));
    assert_eq!(confirmed(&replica, &with), own(&with, Standing::InSync));
}

#[test]
fn acknowledged_by_all_of_the_set() {
    let here = record(&["a", "b", "c"]);
    let source = own(&here, LEADS);
    let sees = view("a", Some(here.clone()));
    let has = |name: &str| (name.to_owned(), said(3, 0x33, 4));
    assert!(acknowledged(&source, &sees, &[has("b"), has("c")], 2));
    assert!(!acknowledged(&source, &sees, &[has("b"), has("c")], 3));
    assert!(!acknowledged(&source, &sees, &[has("b")], 1), "every one of them");
    assert!(!acknowledged(&own(&here, OPENED), &sees, &[has("b"), has("c")], 1));
    for unaware in [said(3, 0x33, 3), said(3, 0x34, 4), said(4, 0x33, 4), said(2, 0x33, 9)] {
        assert!(!acknowledged(&source, &sees, &[has("b"), ("c".to_owned(), unaware)], 1));
    }
    let alone = Record { change: 5, ..record(&["a"]) };
    assert!(
        !acknowledged(&own(&alone, LEADS), &view("a", Some(alone)), &[], 0),
        "a source alone acknowledges nothing"
    );
}

#[test]
fn a_record_that_went_back_is_written_again() {
    let here = record(&["a", "b"]);
    let older = Record { change: 3, shared: 3, ..record(&["a", "b", "c"]) };
    for standing in [LEADS, Standing::InSync, Standing::Behind] {
        let knows = own(&here, standing);
        for gone_back in [
            None,
            Some(older.clone()),
            Some(Record { generation: generation(2, 0x22, "c"), ..older.clone() }),
        ] {
            let view = view("a", gone_back);
            assert_eq!(restored(&knows, &view), Some(here.clone()));
            assert_eq!(restored(&knows, &View { quorum: false, ..view.clone() }), None);
            for better in [said(4, 1, 0), said(3, 0x33, 5), said(3, 0x34, 0)] {
                assert_eq!(restored(&knows, &hears(view.clone(), "b", better)), None);
            }
        }
        for there in [here.clone(), Record { change: 5, ..here.clone() }, next()] {
            assert_eq!(restored(&knows, &view("a", Some(there))), None);
        }
    }
    assert_eq!(restored(&Own::default(), &view("a", None)), None);
    // An opening in ignorance is not what comes back over what was acknowledged.
    let acknowledged_since = Record { change: 5, shared: 5, ..record(&["a", "c"]) };
    assert_eq!(restored(&own(&next(), OPENED), &view("b", Some(acknowledged_since))), None);
    assert_eq!(restored(&own(&next(), OPENED), &view("b", Some(here.clone()))), Some(next()));
    let underway = opening(&own(&here, Standing::InSync), Some(&here), &next());
    assert_eq!(restored(&underway, &view("b", None)), None);
}

#[test]
fn scores() {
    let here = record(&["a", "b"]);
    assert_eq!(score(&own(&here, LEADS), &view("a", Some(here.clone()))), Some(100));
    assert_eq!(
        score(&own(&here, LEADS), &View { quorum: false, ..view("a", Some(here.clone())) }),
        Some(100)
    );
    assert_eq!(score(&own(&here, Standing::InSync), &view("b", Some(here.clone()))), Some(50));
    assert_eq!(score(&own(&here, Standing::InSync), &view("c", Some(here.clone()))), None);
    assert_eq!(score(&own(&here, Standing::Behind), &view("b", Some(here.clone()))), None);
    assert_eq!(score(&own(&here, LEADS), &view("a", Some(next()))), None, "another leads");
    let empty = fresh("a", Tree::Empty, [Some(Tree::Empty), Some(Tree::Empty)]);
    assert_eq!(score(&Own::default(), &empty), Some(5));
    assert_eq!(score(&Own::default(), &View { tree: Tree::Filled, ..empty }), Some(50));
}

#[test]
fn a_refusal_says_what_was_found_and_what_to_do() {
    let generation = record(&[]).generation;
    for (refusal, found, to_do) in [
        (Refusal::NoQuorum, "no quorum", "another part"),
        (Refusal::EmptyTree, "empty", "mount"),
        (Refusal::NotInSync(generation.clone()), "not in sync with generation 3 (of a)", "adopt=3"),
        (Refusal::NewerElsewhere { node: "c".into(), number: 4 }, "c knows generation 4", "write it again"),
        (Refusal::RecordLost(generation), "lost its record", "adopt=3"),
        (Refusal::NotInitial("b".into()), "b", "initial_source"),
        (Refusal::Waiting(vec!["b".into(), "c".into()]), "b, c did not say", "start them"),
        (Refusal::DataElsewhere(vec!["b".into()]), "b hold data", "initial_source"),
    ] {
        let text = refusal.to_string();
        assert!(text.contains(found) && text.contains(to_do) && !text.contains('\n'), "{text}");
    }
}

#[test]
fn a_source_whose_generation_the_cluster_does_not_hold_makes_way() {
    let here = record(&["a", "b"]);
    let leads = own(&here, LEADS);
    // Its own, further on, gone back or lost: that is written again.
    let older = Record { generation: generation(2, 0x22, "c"), ..here.clone() };
    let gone_back = Record { change: 3, ..here.clone() };
    for good in [None, Some(&here), Some(&gone_back), Some(&older)] {
        assert!(!superseded(&leads, good), "{good:?}");
    }
    let twice = Record { generation: generation(3, 0x34, "b"), ..here.clone() };
    let in_ignorance = Record { upon: None, ..next() };
    for other in [&twice, &in_ignorance] {
        assert_eq!(learn(&leads, Some(other)), leads, "it is not followed");
        assert!(superseded(&leads, Some(other)));
        assert!(!superseded(&own(&here, Standing::InSync), Some(other)), "a replica leads nothing");
    }
    // It was the one in ignorance.
    let acknowledged_since = Record { change: 5, shared: 5, ..record(&["a", "c"]) };
    assert!(superseded(&own(&next(), OPENED), Some(&acknowledged_since)));
}
