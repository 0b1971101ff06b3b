//! Finalize (RFC 8555 s7.4): a ready order and a CSR become a certificate, once. The enrolment and its owner's
//! standing are asked again, because both may have changed since the order was made.
use super::account::Account;
use super::certificate::Certificate;
use super::csr::Asked;
use super::identifier::Identifier;
use super::issuer::{By, Issued, Wanted};
use super::jws;
use super::limits::Limit;
use super::order::{Order, OrderState, Status, order_reply};
use super::problem::{Kind, Problem};
use super::reply::Reply;
use super::request::{Call, object};
use super::server::Server;
use crate::Reason;
use serde::Deserialize;
use std::collections::BTreeSet;
use time::OffsetDateTime;

#[derive(Deserialize)]
struct Finalize {
    csr: String,
}

impl Server {
    /// Answers when the certificate is there: clients need not poll.
    pub(super) async fn finalize(&self, call: &Call, account: &Account, id: &str) -> Result<Reply, Problem> {
        let order = self.own_order(account, id).await?;
        if self.status(&order, call.now).await? != Status::Ready {
            return Err(not_ready());
        }
        self.limits.count(Limit::Finalizes, &account.id, call.now)?;
        let wanted: Finalize = object(&call.payload)?;
        let csr_der = jws::decode(&wanted.csr, "csr")?;
        // Both may have changed since the order was made.
        self.must_grant(&account.enrolment, &order.identifiers)?;
        self.profile(&account.enrolment, Some(&order.profile))?;
        self.check_csr(account, &order, &csr_der)?;
        self.must_stand(&account.enrolment, call.now).await?;

        let since = call.now.unix_timestamp();
        let processing = OrderState::Processing { since, attempt: super::random_id()? };
        if !self.store.move_order(&order.id, &OrderState::Open, processing.clone()).await? {
            return Err(not_ready());
        }
        let wanted = Wanted {
            account: &account.id,
            order: &order.id,
            enrolment: &account.enrolment,
            profile: &order.profile,
            identifiers: &order.identifiers,
            csr_der: &csr_der,
        };
        let issued = match self.issuer.issue(&wanted, call.now).await {
            Ok(issued) => issued,
            Err(refused) => {
                // Nothing was signed: the client may try again with this order.
                self.store.move_order(&order.id, &processing, OrderState::Open).await?;
                return Err(refused.into());
            }
        };
        let certificate = Certificate::new(&order, &issued)?;
        let status = Status::Valid { certificate: certificate.id.clone() };
        if !self.store.complete(certificate, &processing).await? {
            return Err(self.take_back(&issued, call.now).await);
        }
        Ok(order_reply(&order, &status, call))
    }

    /// The account ended, or the order was given up, while the certificate was being signed.
    async fn take_back(&self, issued: &Issued, now: OffsetDateTime) -> Problem {
        let by = By::Server("the account ended while the certificate was being signed".into());
        match self.issuer.revoke(&issued.serial, Reason::CessationOfOperation, &by, now).await {
            Ok(_) => Problem::new(Kind::Unauthorized, "the account ended while the certificate was being signed"),
            Err(unavailable) => unavailable.into(),
        }
    }

    fn check_csr(&self, account: &Account, order: &Order, csr_der: &[u8]) -> Result<(), Problem> {
        let csr = Asked::parse(csr_der)?;
        let ordered: BTreeSet<_> = order.identifiers.iter().collect();
        let asked: BTreeSet<_> = csr.identifiers.iter().collect();
        if ordered != asked {
            let list =
                |names: &BTreeSet<&Identifier>| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let (asked, ordered) = (list(&asked), list(&ordered));
            return Err(Problem::new(Kind::BadCsr, format!("the CSR names `{asked}`, the order `{ordered}`")));
        }
        if csr.subject_public_key == account.key.subject_public_key() {
            return Err(Problem::new(
                Kind::BadCsr,
                "the CSR has the account's key; use one of its own (RFC 8555 s11.1)",
            ));
        }
        Ok(self.issuer.check_csr(csr_der, &order.profile)?)
    }
}

fn not_ready() -> Problem {
    Problem::new(Kind::OrderNotReady, "the order is not ready to be finalized")
}
