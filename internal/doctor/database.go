package doctor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/internal/compare"
	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/migrations"
	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/persister"
)

// database is the PostgreSQL side of an examination. pool is set when reachable has come to OK.
type database struct {
	url      string
	pool     *pgxpool.Pool
	chatroom *check // its schema
	stored   *check // the persister's schema
	outbox   *outboxView
}

const (
	applicationName  = "gochat doctor"
	oldestPostgreSQL = 15
)

func (e *Examination) addDatabase(c Config) *database {
	d := &database{url: c.DatabaseURL, outbox: &outboxView{}}
	reachable := e.add(sectionDatabase, "reachable", d.reachable)
	e.onClose(func() {
		if d.pool != nil {
			d.pool.Close()
		}
	})
	e.add(sectionDatabase, "version", d.version, reachable)
	e.add(sectionDatabase, "fsync", d.setting("fsync", "a power cut can lose or destroy what was accepted"), reachable)
	e.add(sectionDatabase, "full_page_writes", d.setting("full_page_writes", "a power cut can leave half-written pages"), reachable)
	e.add(sectionDatabase, "synchronous_commit", d.synchronousCommit, reachable)
	d.chatroom = e.add(sectionDatabase, "schema chatroom", d.schema(migrations.Chatroom), reachable)
	e.add(sectionDatabase, "vacuum", d.vacuum, d.chatroom)
	d.stored = e.add(sectionDatabase, "schema persister", d.schema(migrations.Persister), reachable)
	e.add(sectionDatabase, "clock", d.clock, reachable)
	e.add(sectionDatabase, "size", d.size, reachable)
	return d
}

// reachable opens the pool as the services do, so that every session has their settings.
func (d *database) reachable(ctx context.Context) outcome {
	start := time.Now()
	pool, err := db.OpenPostgres(ctx, d.url, db.Options{ApplicationName: applicationName, MaxConns: 4})
	if err != nil {
		return failErr(err, "correct DATABASE_URL; for the files of gochat up: gochat doctor --data DIR")
	}
	d.pool, d.outbox.store = pool, outbox.Postgres{Pool: pool}
	d.outbox.facts = postgresFacts{pool}
	d.outbox.whole = compare.Reconciliation(store.NewPostgres(pool), outbox.Postgres{Pool: pool}, persister.NewPostgres(pool))
	c := pool.Config().ConnConfig
	return ok("database %s as %s, %s", c.Database, c.User, took(start))
}

func (d *database) version(ctx context.Context) outcome {
	var text, number string
	if err := d.pool.QueryRow(ctx, "SELECT current_setting('server_version'), current_setting('server_version_num')").Scan(&text, &number); err != nil {
		return failErr(err, "")
	}
	if n, err := strconv.Atoi(number); err != nil || n < oldestPostgreSQL*10_000 {
		return fail(fmt.Sprintf("upgrade PostgreSQL to %d or newer", oldestPostgreSQL), "PostgreSQL %s is too old", text)
	}
	return ok("PostgreSQL %s", text)
}

// setting looks at one that must be on in the whole server.
func (d *database) setting(name, harm string) func(context.Context) outcome {
	return func(ctx context.Context) outcome {
		v, err := readSetting(ctx, d.pool, name)
		switch {
		case err != nil:
			return failErr(err, "")
		case v.value != "on":
			return fail(v.remedy(), "%s: %s", v.value, harm)
		}
		return ok("on")
	}
}

// synchronousCommit looks at what a session of the services gets, and at what all others get: a pooler in between may
// drop the parameter that the services ask with.
func (d *database) synchronousCommit(ctx context.Context) outcome {
	ours, err := readSetting(ctx, d.pool, "synchronous_commit")
	if err != nil {
		return failErr(err, "")
	}
	others, err := d.plainSetting(ctx, "synchronous_commit")
	if err != nil {
		return failErr(err, "")
	}
	switch {
	case ours.value == "off":
		return fail(others.remedy()+" and let the pooler pass synchronous_commit on, if there is one",
			"off in the services' sessions, although they ask for it: an accepted message can be lost")
	case others.value == "off":
		return warn(others.remedy(),
			"%s in the services' sessions, which ask for it; off in all others of %s: a pooler that drops what they ask for would lose messages",
			ours.value, others.user)
	}
	return ok("%s", ours.value)
}

// plainSetting is a setting as a session gets it that asks for nothing.
func (d *database) plainSetting(ctx context.Context, name string) (setting, error) {
	cfg, err := db.ConnConfig(d.url, applicationName)
	if err != nil {
		return setting{}, err
	}
	delete(cfg.RuntimeParams, name)
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return setting{}, db.Explain(cfg, err)
	}
	s, err := readSetting(ctx, conn, name)
	return s, errors.Join(err, conn.Close(ctx))
}

func (d *database) schema(service migrations.Service) func(context.Context) outcome {
	return func(ctx context.Context) outcome {
		m, err := migrations.Postgres(d.url, service)
		if err != nil {
			return failErr(err, "")
		}
		got := schemaVersion(ctx, m)
		if err := m.Close(); err != nil {
			return failErr(err, "")
		}
		return got
	}
}

// schemaVersion judges the schema of one service in either database.
func schemaVersion(ctx context.Context, m *migrations.Migrator) outcome {
	if err := m.Check(ctx); err != nil {
		return failErr(err, "may the user of DATABASE_URL read the schema?")
	}
	states, err := m.Status(ctx)
	if err != nil || len(states) == 0 {
		return failErr(errors.Join(err, errors.New("no migrations")), "")
	}
	last := states[len(states)-1]
	return ok("version %d (%s)", last.Version, last.Name)
}

// vacuum looks whether the chat room's relay may vacuum its outbox. Without it all works, and is slower under load.
func (d *database) vacuum(ctx context.Context) outcome {
	may, err := outbox.Postgres{Pool: d.pool}.MayVacuum(ctx)
	switch {
	case err != nil:
		return failErr(err, "")
	case !may:
		role := pgx.Identifier{d.pool.Config().ConnConfig.User}.Sanitize()
		return warn("ALTER TABLE chatroom.outbox OWNER TO "+role+"; from PostgreSQL 17 on GRANT MAINTAIN ON chatroom.outbox TO "+role+" will do; or a low autovacuum_naptime",
			"role %s may not vacuum the outbox, which grows under load until the server's autovacuum looks", role)
	}
	return ok("the relay may vacuum the outbox")
}

func (d *database) clock(ctx context.Context) outcome {
	var now time.Time
	start := time.Now()
	if err := d.pool.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&now); err != nil {
		return failErr(err, "")
	}
	return skew(now.Sub(start.Add(time.Since(start)/2)), time.Since(start)/2, "the database")
}

func (d *database) size(ctx context.Context) outcome {
	var bytes int64
	if err := d.pool.QueryRow(ctx, "SELECT pg_database_size(current_database())").Scan(&bytes); err != nil {
		return failErr(err, "")
	}
	return ok("%s; the free disk of its machine is not seen from here", size(bytes))
}

// setting is one of the server's, as a session has it.
type setting struct {
	name, value    string
	source         string // where the value came from, as pg_settings tells it
	user, database string // of the session
}

type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func readSetting(ctx context.Context, q querier, name string) (setting, error) {
	s := setting{name: name}
	err := q.QueryRow(ctx, "SELECT setting, source, current_user, current_database() FROM pg_settings WHERE name = $1", name).
		Scan(&s.value, &s.source, &s.user, &s.database)
	if err != nil {
		return s, fmt.Errorf("read %s: %w", name, err)
	}
	return s, nil
}

// remedy turns the setting on where it was turned off.
func (s setting) remedy() string {
	user, database := pgx.Identifier{s.user}.Sanitize(), pgx.Identifier{s.database}.Sanitize()
	switch s.source {
	case "user":
		return fmt.Sprintf("ALTER ROLE %s RESET %s;", user, s.name)
	case "database":
		return fmt.Sprintf("ALTER DATABASE %s RESET %s;", database, s.name)
	case "database user":
		return fmt.Sprintf("ALTER ROLE %s IN DATABASE %s RESET %s;", user, database, s.name)
	case "command line":
		return fmt.Sprintf("start PostgreSQL without -c %s=%s", s.name, s.value)
	case "client", "session":
		return fmt.Sprintf("take %s out of DATABASE_URL", s.name)
	}
	return fmt.Sprintf("ALTER SYSTEM SET %s = on; SELECT pg_reload_conf();", s.name)
}
