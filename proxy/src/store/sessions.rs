//! Sessions and one-time values.
use crate::login::session::{
    AtHost, Found, Others, ProviderLogout, Purpose, Session, SessionId, SessionStore, TicketHash, Unavailable, Which,
};
use crate::store::database::{AT_ONCE, Row, Statement, Steps, Value, one_of, sql};
use crate::store::scope::scope;
use crate::store::{SqlStore, row};
use async_trait::async_trait;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::{Name, Timestamp, User};

impl SqlStore {
    /// None: it is damaged, of a version that we do not know, or sealed under another key. It opens nothing, and stands in
    /// nobody else's way.
    fn readable(&self, row: &Row) -> Option<Session> {
        let unreadable = |error: &Unavailable| tracing::error!(%error, "a session that cannot be read counts as none");
        self.session(row).inspect_err(unreadable).ok()
    }

    fn session(&self, row: &Row) -> Result<Session, Unavailable> {
        let time = |column: &str| row.integer(column).map(Timestamp::from_millis);
        let id: SessionId = row.text("id")?.into();
        let (tokens, device) = row::decode_tokens(&id, &row.bytes("tokens")?, self.seal())?;
        Ok(Session {
            user: Arc::new(User {
                name: row.text("user_name")?.into(),
                provider: row.text("provider")?.into(),
                issuer: row.text("issuer")?.into(),
                subject: row.text("subject")?.into(),
                federated: row.flag("federated")?,
            }),
            display_name: row.optional_text("display_name")?,
            email: row.optional_text("email")?,
            groups: row::decode_groups(&id, &row.text("groups")?)?,
            proofs: row::decode_proofs(&id, &row.text("proofs")?)?,
            provider_session: row.optional_text("provider_session")?,
            tokens,
            device,
            created: time("created")?,
            expires: time("expires")?,
            last_seen: time("last_seen")?,
            opened_from: row.text("opened_from")?,
            user_agent: row.text("user_agent")?,
            id,
        })
    }
}

#[async_trait]
impl SessionStore for SqlStore {
    async fn create(&self, session: &Session, handle: TicketHash, host: &str) -> Result<(), Unavailable> {
        let encoded = row::encode(session, self.seal())?;
        let mut steps = self.begin().await?;
        let insert = sql(
            "INSERT INTO sessions (id, user_name, provider, issuer, subject, federated, display_name, email, groups, \
             proofs, provider_session, tokens, created, expires, last_seen, opened_from, user_agent) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
        );
        let insert = insert
            .bind(&*session.id)
            .bind(&*session.user.name)
            .bind(&*session.user.provider)
            .bind(&*session.user.issuer)
            .bind(&*session.user.subject)
            .bind(session.user.federated)
            .bind(&session.display_name)
            .bind(&session.email)
            .bind(encoded.groups)
            .bind(encoded.proofs)
            .bind(&session.provider_session)
            .bind(encoded.tokens)
            .bind(session.created.millis())
            .bind(session.expires.millis())
            .bind(session.last_seen.millis())
            .bind(&session.opened_from)
            .bind(&session.user_agent);
        steps.write(insert).await?;
        insert_handle(&mut *steps, &session.id, handle, host).await?;
        steps.commit().await
    }

    async fn find(&self, handle: TicketHash, host: &str) -> Result<Option<Session>, Unavailable> {
        let find =
            sql("SELECT s.* FROM handles h JOIN sessions s ON s.id = h.session WHERE h.hash = $1 AND h.host = $2");
        let rows = self.rows(find.bind(handle.0.as_slice()).bind(host)).await?;
        Ok(rows.first().and_then(|row| self.readable(row)))
    }

    async fn find_all(&self, handles: &[AtHost]) -> Result<Vec<Found>, Unavailable> {
        let mut found = Vec::new();
        for some in handles.chunks(AT_ONCE) {
            let asked: HashSet<(&[u8], &str)> = some.iter().map(|(handle, host)| (&handle.0[..], &**host)).collect();
            let (places, values) = one_of(some.iter().map(|(handle, _)| Value::from(&handle.0[..])).collect());
            let text = format!(
                "SELECT h.hash, h.host, s.* FROM handles h JOIN sessions s ON s.id = h.session WHERE h.hash IN ({places})"
            );
            for row in self.rows(Statement { text: text.into(), values }).await? {
                let hash = row.bytes("hash")?;
                if asked.contains(&(&hash[..], &row.text("host")?[..])) {
                    let hash = hash.as_slice().try_into().map_err(|_| Unavailable("a handle is no hash".into()))?;
                    found.extend(self.readable(&row).map(|session| (TicketHash(hash), session)));
                }
            }
        }
        Ok(found)
    }

    async fn add_handle(
        &self,
        session: &SessionId,
        handle: TicketHash,
        host: &str,
        replaces: Option<TicketHash>,
    ) -> Result<bool, Unavailable> {
        let mut steps = self.begin().await?;
        // Inserting from the session's own row: a session that has just ended gets no handle.
        if !insert_handle(&mut *steps, session, handle, host).await? {
            return Ok(false);
        }
        if let Some(old) = replaces {
            let forget = sql("DELETE FROM handles WHERE hash = $1 AND session = $2");
            steps.write(forget.bind(old.0.as_slice()).bind(&**session)).await?;
        }
        steps.commit().await?;
        Ok(true)
    }

    async fn update(&self, session: &Session) -> Result<bool, Unavailable> {
        let encoded = row::encode(session, self.seal())?;
        // A session never changes hands (issuer and subject must match) and its absolute end never moves away.
        let update =
            sql("UPDATE sessions SET user_name = $1, federated = $2, display_name = $3, email = $4, groups = $5, \
             proofs = $6, provider_session = $7, tokens = $8, \
             expires = CASE WHEN expires < $9 THEN expires ELSE $9 END, \
             last_seen = CASE WHEN last_seen > $10 THEN last_seen ELSE $10 END \
             WHERE id = $11 AND issuer = $12 AND subject = $13");
        let update = update
            .bind(&*session.user.name)
            .bind(session.user.federated)
            .bind(&session.display_name)
            .bind(&session.email)
            .bind(encoded.groups)
            .bind(encoded.proofs)
            .bind(&session.provider_session)
            .bind(encoded.tokens)
            .bind(session.expires.millis())
            .bind(session.last_seen.millis())
            .bind(&*session.id)
            .bind(&*session.user.issuer)
            .bind(&*session.user.subject);
        Ok(self.write(update).await? == 1)
    }

    async fn touch(&self, seen: &[(SessionId, Timestamp)]) -> Result<(), Unavailable> {
        // In one order everywhere: two replicas that write the same sessions wait for each other, and never in a circle.
        let mut seen: Vec<_> = seen.iter().collect();
        seen.sort();
        let mut steps = self.begin().await?;
        for (id, at) in seen {
            let update = sql("UPDATE sessions SET last_seen = $1 WHERE id = $2 AND last_seen < $1");
            steps.write(update.bind(at.millis()).bind(&**id)).await?;
        }
        steps.commit().await
    }

    async fn used_with(&self, session: &SessionId, devices: &[Name]) -> Result<bool, Unavailable> {
        let mut steps = self.begin().await?;
        for device in devices {
            // From the session's own row: one that has just ended leaves nothing behind.
            let keep = sql("INSERT INTO session_devices (session, device) SELECT id, $1 FROM sessions WHERE id = $2 \
                 ON CONFLICT (session, device) DO NOTHING");
            steps.write(keep.bind(&**device).bind(&**session)).await?;
        }
        let live = steps.rows(sql("SELECT id FROM sessions WHERE id = $1").bind(&**session)).await?;
        steps.commit().await?;
        Ok(!live.is_empty())
    }

    async fn end(&self, which: &Which, _now: Timestamp) -> Result<Vec<SessionId>, Unavailable> {
        // Handles go with their session (ON DELETE CASCADE), tokens are in its row.
        let (condition, values) = scope(which);
        let text = format!("DELETE FROM sessions WHERE {condition} RETURNING id");
        ids(self.change(Statement { text: text.into(), values }).await?)
    }

    async fn list(&self, which: &Which) -> Result<Vec<Session>, Unavailable> {
        let (condition, values) = scope(which);
        let text = format!("SELECT * FROM sessions WHERE {condition} ORDER BY created DESC, id");
        let rows = self.rows(Statement { text: text.into(), values }).await?;
        Ok(rows.iter().filter_map(|row| self.readable(row)).collect())
    }

    async fn vouchers(&self) -> Result<Vec<(Name, Name)>, Unavailable> {
        let rows = self.rows(sql("SELECT DISTINCT provider, issuer FROM sessions")).await?;
        rows.iter().map(|row| Ok((row.text("provider")?.into(), row.text("issuer")?.into()))).collect()
    }

    async fn others(&self) -> Result<Others, Unavailable> {
        self.database.others().await
    }

    async fn count(&self) -> Result<u64, Unavailable> {
        let rows = self.rows(sql("SELECT count(*) AS n FROM sessions")).await?;
        rows.first().map_or(Ok(0), |row| row.count("n"))
    }

    async fn gone(&self, ids: &[SessionId]) -> Result<Vec<SessionId>, Unavailable> {
        let mut gone = Vec::new();
        for some in ids.chunks(AT_ONCE) {
            let (places, values) = one_of(some.iter().map(|id| Value::from(&**id)).collect());
            let text = format!("SELECT id FROM sessions WHERE id IN ({places})");
            let rows = self.rows(Statement { text: text.into(), values }).await?;
            let live: std::collections::HashSet<SessionId> = self::ids(rows)?.into_iter().collect();
            gone.extend(some.iter().filter(|id| !live.contains(*id)).cloned());
        }
        Ok(gone)
    }

    async fn claim_renewals(&self, before: Timestamp, now: Timestamp) -> Result<Vec<SessionId>, Unavailable> {
        // One statement: of two replicas, one finds it claimed.
        let claim = sql(
            "INSERT INTO renewals (session, asked) SELECT id, $1 FROM sessions WHERE created <= $2 OR created > $3 ORDER BY id \
             ON CONFLICT (session) DO UPDATE SET asked = excluded.asked \
             WHERE renewals.asked <= $2 OR renewals.asked > $3 RETURNING session AS id",
        );
        let ahead = now.plus(AHEAD);
        ids(self.change(claim.bind(now.millis()).bind(before.millis()).bind(ahead.millis())).await?)
    }

    async fn claim_renewal(&self, id: &SessionId, before: Timestamp, now: Timestamp) -> Result<bool, Unavailable> {
        let claim = sql("INSERT INTO renewals (session, asked) SELECT id, $1 FROM sessions WHERE id = $3 \
             ON CONFLICT (session) DO UPDATE SET asked = excluded.asked \
             WHERE renewals.asked <= $2 OR renewals.asked > $4 RETURNING session AS id");
        let claim = claim.bind(now.millis()).bind(before.millis()).bind(&**id).bind(now.plus(AHEAD).millis());
        let claimed = self.change(claim).await?;
        Ok(!ids(claimed)?.is_empty())
    }

    async fn keep_logout(
        &self,
        token: TicketHash,
        logout: &ProviderLogout,
        until: Timestamp,
    ) -> Result<Timestamp, Unavailable> {
        // The same token again keeps the time of the first.
        let keep =
            sql("INSERT INTO logouts (token, issuer, subject, sid, heard, expires) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (token) DO UPDATE SET expires = \
             CASE WHEN logouts.expires > excluded.expires THEN logouts.expires ELSE excluded.expires END \
             RETURNING heard");
        let keep = keep
            .bind(token.0.as_slice())
            .bind(&*logout.issuer)
            .bind(logout.subject.as_deref())
            .bind(&logout.sid)
            .bind(logout.heard.millis())
            .bind(until.millis());
        let rows = self.change(keep).await?;
        rows.first().map_or(Ok(logout.heard), |row| row.integer("heard").map(Timestamp::from_millis))
    }

    async fn is_logged_out(&self, session: &Session, began: Timestamp) -> Result<bool, Unavailable> {
        // Asked where it was written, after the session was: no older view.
        let ask = sql(IS_LOGGED_OUT)
            .bind(&*session.user.issuer)
            .bind(&*session.user.subject)
            .bind(&session.provider_session)
            .bind(began.millis());
        Ok(!self.change(ask).await?.is_empty())
    }

    async fn put_once(
        &self,
        purpose: Purpose,
        key: TicketHash,
        value: &[u8],
        expires: Timestamp,
    ) -> Result<(), Unavailable> {
        // Login states hold the PKCE verifier and the nonce, so they are sealed like tokens.
        let sealed = self.seal().seal(once_purpose(purpose), value)?;
        let put = sql("INSERT INTO once (purpose, key, value, expires) VALUES ($1, $2, $3, $4)");
        let put = put.bind(once_purpose(purpose)).bind(key.0.as_slice()).bind(sealed).bind(expires.millis());
        self.write(put).await.map(drop)
    }

    async fn take_once(
        &self,
        purpose: Purpose,
        key: TicketHash,
        now: Timestamp,
    ) -> Result<Option<Vec<u8>>, Unavailable> {
        // One statement: of two callers, one finds it gone.
        let take = sql("DELETE FROM once WHERE purpose = $1 AND key = $2 RETURNING value, expires");
        let rows = self.change(take.bind(once_purpose(purpose)).bind(key.0.as_slice())).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        if Timestamp::from_millis(row.integer("expires")?) <= now {
            return Ok(None);
        }
        Ok(Some(self.seal().open(once_purpose(purpose), &row.bytes("value")?)?.to_vec()))
    }

    async fn spend_grant(&self, id: &str, by: &str, now: Timestamp) -> Result<bool, Unavailable> {
        let spend =
            sql("INSERT INTO spent_grants (id, spent, by_whom) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING");
        Ok(self.write(spend.bind(id).bind(now.millis()).bind(by)).await? == 1)
    }

    async fn sweep(&self, now: Timestamp, idle_before: Timestamp) -> Result<Vec<SessionId>, Unavailable> {
        let mut steps = self.begin().await?;
        let end = sql("DELETE FROM sessions WHERE expires <= $1 OR last_seen < $2 RETURNING id");
        let ended = ids(steps.rows(end.bind(now.millis()).bind(idle_before.millis())).await?)?;
        for forget in ["DELETE FROM once WHERE expires <= $1", "DELETE FROM logouts WHERE expires <= $1"] {
            steps.write(sql(forget).bind(now.millis())).await?;
        }
        steps.commit().await?;
        Ok(ended)
    }
}

/// No clock of another replica is so far ahead of ours: what says that it was later was written before a clock was set back,
/// and holds up nobody until that hour comes again.
const AHEAD: Duration = Duration::from_secs(60);

/// False: the session is not live.
async fn insert_handle(
    steps: &mut dyn Steps,
    session: &SessionId,
    handle: TicketHash,
    host: &str,
) -> Result<bool, Unavailable> {
    let insert = sql("INSERT INTO handles (hash, host, session) SELECT $1, $2, id FROM sessions WHERE id = $3");
    Ok(steps.write(insert.bind(handle.0.as_slice()).bind(host).bind(&**session)).await? == 1)
}

/// `$1` issuer, `$2` subject, `$3` sid or null, `$4` when the login began.
const IS_LOGGED_OUT: &str = "SELECT token FROM logouts WHERE issuer = $1 AND ( \
    (sid = $3 AND (subject IS NULL OR subject = $2)) \
    OR (subject = $2 AND (sid IS NULL OR $3 IS NULL) AND heard >= $4)) LIMIT 1";

fn once_purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::LoginState => "login_state",
        Purpose::HandOver => "hand_over",
        Purpose::Enrolment => "enrolment",
        Purpose::BreakGlass => "break_glass",
    }
}

fn ids(rows: Vec<Row>) -> Result<Vec<SessionId>, Unavailable> {
    rows.iter().map(|row| row.text("id").map(SessionId::from)).collect()
}
