//! Beside firewalls that drop what is forwarded unless a rule lets it pass: docker's (`iptables -P FORWARD DROP`), ufw's, firewalld's.
//!
//! A packet has to pass all tables, so nothing in ours helps. In each chain whose policy drops forwarded packets we put
//! what `iptables -I FORWARD -i pc-+ -j ACCEPT` would, in iptables' own form, so that it goes on reading the chain: the same for
//! `-o`, and for the default bridge. What may pass is then said by our own table.

use super::definition::{Hook, TABLE};
use super::expression::{Field, Place, add_rule};
use super::table::{ATTEMPTS, Rules, is_contention};
use super::transaction::{Transaction, generation, kind, list, read_comment};
use crate::error::{Error, Result};
use crate::link::{BRIDGE_PREFIX, DEFAULT_BRIDGE};
use crate::message::Attributes;

const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_USER_DATA: u16 = 7;
const POLICY_DROP: u32 = 0;
/// `NFPROTO_INET`, `NFPROTO_IPV4`, `NFPROTO_IPV6`.
const FAMILIES: [u8; 3] = [1, 2, 10];
/// By this comment our rules are found again.
const REMARK: &str = "pycontain";

/// A chain of somebody else's, for forwarded packets.
struct Chain {
    family: u8,
    table: String,
    name: String,
    drops: bool,
}

impl Rules {
    /// Lets what comes from our bridges and goes to them pass where others drop forwarded packets. Cheap when all is as it
    /// should be; to be called again after a firewall has been loaded anew. Says how many chains were changed.
    pub fn admit(&mut self) -> Result<usize> {
        self.change_others(
            |chain, ours| chain.drops && ours.len() != bridges().len() * 2,
            |transaction, chain| {
                for (field, name) in
                    bridges().iter().flat_map(|name| [(Field::OutputName, name), (Field::InputName, name)])
                {
                    let (family, table) = (chain.family, &chain.table);
                    add_rule(transaction, family, table, &chain.name, Place::First, Some(REMARK), |rule| {
                        rule.name_begins(field, name).count().accept();
                    });
                }
            },
        )
    }

    /// Takes out of the chains of others what [`admit`](Rules::admit) put there.
    pub fn withdraw(&mut self) -> Result<usize> {
        self.change_others(|_, ours| !ours.is_empty(), |_, _| {})
    }

    /// Removes our rules in each chain that is to be changed, and adds others.
    fn change_others(
        &mut self,
        is_wrong: fn(&Chain, &[u64]) -> bool,
        add: fn(&mut Transaction, &Chain),
    ) -> Result<usize> {
        for _ in 0..ATTEMPTS {
            let generation = generation(&mut self.socket)?;
            let (chains, interrupted) = self.forwarding_chains()?;
            let mut transaction = Transaction::new(&self.socket, Some(generation));
            let mut changed = 0;
            let mut torn = interrupted;
            for chain in &chains {
                let (ours, interrupted) = self.ours_in(chain)?;
                torn |= interrupted;
                if is_wrong(chain, &ours) {
                    ours.iter().for_each(|handle| delete_rule(&mut transaction, chain, *handle));
                    add(&mut transaction, chain);
                    changed += 1;
                }
            }
            if torn {
                continue;
            }
            if changed == 0 {
                return Ok(0);
            }
            match self.socket.run(transaction.finish()) {
                Err(failure) if is_contention(&failure) => {}
                done => return done.map(|()| changed),
            }
        }
        Err(Error::Contended { action: "let our bridges pass the host's firewall" })
    }

    fn forwarding_chains(&mut self) -> Result<(Vec<Chain>, bool)> {
        let mut chains = Vec::new();
        let mut see = |family: u8, attributes: Attributes<'_>| {
            let hook = attributes.nest(CHAIN_HOOK).be32(HOOK_NUMBER);
            let (Some(table), Some(name)) = (attributes.text(CHAIN_TABLE), attributes.text(CHAIN_NAME))
            else {
                return;
            };
            let filters = attributes.text(CHAIN_TYPE) == Some("filter");
            if FAMILIES.contains(&family) && hook == Some(Hook::Forward as u32) && filters && table != TABLE {
                let drops = attributes.be32(CHAIN_POLICY) == Some(POLICY_DROP);
                chains.push(Chain { family, table: table.to_owned(), name: name.to_owned(), drops });
            }
        };
        let interrupted = list(&mut self.socket, kind::GETCHAIN, 0, "chains", &[], &mut see)?;
        Ok((chains, interrupted))
    }

    /// The handles of our rules in a chain.
    fn ours_in(&mut self, chain: &Chain) -> Result<(Vec<u64>, bool)> {
        let mut handles = Vec::new();
        let names = [(RULE_TABLE, chain.table.as_str()), (RULE_CHAIN, chain.name.as_str())];
        let see = |_: u8, attributes: Attributes<'_>| {
            if attributes.find(RULE_USER_DATA).and_then(read_comment) == Some(REMARK) {
                handles.extend(attributes.be64(RULE_HANDLE));
            }
        };
        let interrupted = list(&mut self.socket, kind::GETRULE, chain.family, &chain.name, &names, see)?;
        Ok((handles, interrupted))
    }
}

/// Whether the older iptables (`iptables-legacy`) has a filter in the namespace of the calling thread. It is not made of nf_tables, so
/// [`admit`](Rules::admit) does not see it: if it drops what is forwarded, it has to be told by hand.
pub fn has_legacy_filter() -> bool {
    let names = ["ip_tables_names", "ip6_tables_names"];
    let tables = |name| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
    names.into_iter().any(|name| tables(name).lines().any(|table| table == "filter"))
}

/// As iptables compares names: `pc-+` without, `pycontain0` with the zero at its end.
fn bridges() -> [Vec<u8>; 2] {
    [BRIDGE_PREFIX.as_bytes().to_vec(), [DEFAULT_BRIDGE.as_bytes(), &[0]].concat()]
}

fn delete_rule(transaction: &mut Transaction, chain: &Chain, handle: u64) {
    let object = format!("{} {}", chain.table, chain.name);
    let mut message =
        transaction.message(kind::DELRULE, 0, chain.family, "remove our rule from chain", object);
    message.put_text(RULE_TABLE, &chain.table);
    message.put_text(RULE_CHAIN, &chain.name);
    message.put(RULE_HANDLE, &handle.to_be_bytes());
}
