-- The same text runs on SQLite and PostgreSQL; only BLOB becomes BYTEA there.
-- Times are nanoseconds since 1970 in UTC, 0 is "no time". Lists and settings are
-- JSON in TEXT. NULL stands for a missing value only where a column is unique.

-- Facts about this database itself; not part of a backup.
CREATE TABLE meta (
  name  TEXT NOT NULL PRIMARY KEY,
  value TEXT NOT NULL
);

CREATE TABLE counters (
  name  TEXT   NOT NULL PRIMARY KEY,
  value BIGINT NOT NULL
);

-- seq and hash are the head of the tailnet's journal.
CREATE TABLE tailnets (
  id       BIGINT NOT NULL PRIMARY KEY,
  name     TEXT   NOT NULL,
  created  BIGINT NOT NULL,
  settings TEXT   NOT NULL,
  seq      BIGINT NOT NULL DEFAULT 0,
  hash     BLOB
);
CREATE UNIQUE INDEX tailnets_name ON tailnets (name);

-- login_key is the login in lower case: what is unique.
CREATE TABLE users (
  id           BIGINT  NOT NULL PRIMARY KEY,
  tailnet      BIGINT  NOT NULL REFERENCES tailnets (id),
  login        TEXT    NOT NULL,
  login_key    TEXT    NOT NULL,
  display_name TEXT    NOT NULL,
  picture_url  TEXT    NOT NULL,
  role         TEXT    NOT NULL,
  created      BIGINT  NOT NULL,
  pending      BOOLEAN NOT NULL,
  suspended    BOOLEAN NOT NULL
);
CREATE UNIQUE INDEX users_login ON users (tailnet, login_key);

CREATE TABLE nodes (
  id              BIGINT  NOT NULL PRIMARY KEY,
  tailnet         BIGINT  NOT NULL REFERENCES tailnets (id),
  stable_id       TEXT    NOT NULL,
  machine_key     TEXT    NOT NULL,
  node_key        TEXT,
  lock_key        TEXT    NOT NULL,
  name            TEXT    NOT NULL,
  name_fixed      BOOLEAN NOT NULL,
  user_id         BIGINT  NOT NULL,
  tags            TEXT    NOT NULL,
  ipv4            TEXT,
  ipv6            TEXT,
  created         BIGINT  NOT NULL,
  key_expiry      BIGINT  NOT NULL,
  no_key_expiry   BOOLEAN NOT NULL,
  approved        BOOLEAN NOT NULL,
  ephemeral       BOOLEAN NOT NULL,
  auth_key        TEXT    NOT NULL,
  approved_routes TEXT    NOT NULL
);
CREATE UNIQUE INDEX nodes_stable_id ON nodes (stable_id);
CREATE UNIQUE INDEX nodes_node_key ON nodes (node_key);
CREATE UNIQUE INDEX nodes_name ON nodes (tailnet, name);
CREATE UNIQUE INDEX nodes_ipv4 ON nodes (tailnet, ipv4);
CREATE UNIQUE INDEX nodes_ipv6 ON nodes (tailnet, ipv6);

-- One row for each node, made with it; hostinfo is empty until the first report.
CREATE TABLE soft (
  node      BIGINT NOT NULL PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE,
  cap       BIGINT NOT NULL DEFAULT 0,
  hostinfo  TEXT   NOT NULL DEFAULT '',
  endpoints TEXT   NOT NULL DEFAULT '',
  disco     TEXT   NOT NULL DEFAULT '',
  home_derp BIGINT NOT NULL DEFAULT 0,
  last_seen BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE auth_keys (
  id          TEXT    NOT NULL PRIMARY KEY,
  tailnet     BIGINT  NOT NULL REFERENCES tailnets (id),
  user_id     BIGINT  NOT NULL,
  hash        TEXT    NOT NULL,
  description TEXT    NOT NULL,
  reusable    BOOLEAN NOT NULL,
  ephemeral   BOOLEAN NOT NULL,
  preapproved BOOLEAN NOT NULL,
  tags        TEXT    NOT NULL,
  created     BIGINT  NOT NULL,
  expires     BIGINT  NOT NULL,
  revoked     BIGINT  NOT NULL,
  used        BIGINT  NOT NULL,
  uses        BIGINT  NOT NULL
);
CREATE INDEX auth_keys_tailnet ON auth_keys (tailnet);

CREATE TABLE tokens (
  id          TEXT   NOT NULL PRIMARY KEY,
  tailnet     BIGINT NOT NULL REFERENCES tailnets (id),
  user_id     BIGINT NOT NULL,
  hash        TEXT   NOT NULL,
  description TEXT   NOT NULL,
  created     BIGINT NOT NULL,
  expires     BIGINT NOT NULL
);
CREATE UNIQUE INDEX tokens_hash ON tokens (hash);
CREATE INDEX tokens_tailnet ON tokens (tailnet);

CREATE TABLE policies (
  tailnet BIGINT NOT NULL REFERENCES tailnets (id),
  rev     BIGINT NOT NULL,
  body    TEXT   NOT NULL,
  created BIGINT NOT NULL,
  author  TEXT   NOT NULL,
  PRIMARY KEY (tailnet, rev)
);

-- Encrypted under the master key, with the name as additional data.
CREATE TABLE secrets (
  name   TEXT NOT NULL PRIMARY KEY,
  sealed BLOB NOT NULL
);

CREATE TABLE links (
  hash    TEXT   NOT NULL PRIMARY KEY,
  tailnet BIGINT NOT NULL REFERENCES tailnets (id),
  user_id BIGINT NOT NULL,
  created BIGINT NOT NULL,
  expires BIGINT NOT NULL,
  used    BIGINT NOT NULL
);
CREATE INDEX links_expires ON links (expires);

CREATE TABLE sessions (
  hash    TEXT   NOT NULL PRIMARY KEY,
  tailnet BIGINT NOT NULL REFERENCES tailnets (id),
  user_id BIGINT NOT NULL,
  created BIGINT NOT NULL,
  seen    BIGINT NOT NULL,
  expires BIGINT NOT NULL,
  address TEXT   NOT NULL,
  agent   TEXT   NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expires ON sessions (expires);

CREATE TABLE relays (
  name      TEXT   NOT NULL PRIMARY KEY,
  region    BIGINT NOT NULL,
  hash      TEXT   NOT NULL,
  created   BIGINT NOT NULL,
  host      TEXT   NOT NULL,
  port      BIGINT NOT NULL,
  stun_port BIGINT NOT NULL,
  cert_hash TEXT   NOT NULL,
  version   TEXT   NOT NULL,
  seen      BIGINT NOT NULL
);
CREATE UNIQUE INDEX relays_region ON relays (region);

-- The journal. Rows are added, never changed; old_json and new_json are empty for "none".
CREATE TABLE entries (
  tailnet       BIGINT NOT NULL REFERENCES tailnets (id),
  seq           BIGINT NOT NULL,
  time          BIGINT NOT NULL,
  actor_kind    TEXT   NOT NULL,
  actor_id      TEXT   NOT NULL,
  actor_name    TEXT   NOT NULL,
  actor_address TEXT   NOT NULL,
  action        TEXT   NOT NULL,
  target        TEXT   NOT NULL,
  old_json      TEXT   NOT NULL,
  new_json      TEXT   NOT NULL,
  hash          BLOB   NOT NULL,
  PRIMARY KEY (tailnet, seq)
);
CREATE INDEX entries_target ON entries (tailnet, target, seq);

-- Where a reader of a journal goes on.
CREATE TABLE cursors (
  name TEXT   NOT NULL PRIMARY KEY,
  seq  BIGINT NOT NULL
);

INSERT INTO counters (name, value) VALUES ('node', 0), ('tailnet', 0), ('user', 0);

-- Tailnet 0 is the server itself: it has a journal and is no tailnet of anybody's.
INSERT INTO tailnets (id, name, created, settings) VALUES (0, '', 0, '{}');
