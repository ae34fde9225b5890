package persister_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
	"github.com/rafaeldepontes/go-chat/internal/sim"
	"github.com/rafaeldepontes/go-chat/migrations"
	"github.com/rafaeldepontes/go-chat/persister"
	"github.com/rafaeldepontes/go-chat/persister/storetest"
)

func TestMain(m *testing.M) {
	sim.Bound(200, 50)
	goleak.VerifyTestMain(m)
}

func TestStorePostgres(t *testing.T) {
	t.Parallel()
	storetest.Run(t, postgres)
}

func TestStoreSQLite(t *testing.T) {
	t.Parallel()
	storetest.Run(t, sqlite)
}

// postgres is a fresh database; each store on it has a pool of its own, as another process has.
func postgres(tb testing.TB) storetest.Database {
	tb.Helper()
	pool, url := dbtest.Postgres(tb)
	first := true
	return storetest.Database{Open: func(tb testing.TB) persister.Store {
		tb.Helper()
		if first {
			first = false
			return persister.NewPostgres(pool)
		}
		return persister.NewPostgres(dbtest.Pool(tb, url))
	}}
}

// sqlite is a fresh file. One process owns it, so all stores share its connections.
func sqlite(tb testing.TB) storetest.Database {
	tb.Helper()
	s := dbtest.SQLite(tb, migrations.Persister)
	return storetest.Database{Open: func(testing.TB) persister.Store { return persister.NewSQLite(s.Writer, s.Reader) }}
}

// databases are all that a test of both runs on.
func databases() map[string]func(testing.TB) storetest.Database {
	return map[string]func(testing.TB) storetest.Database{"postgres": postgres, "sqlite": sqlite}
}
