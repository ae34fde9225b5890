package persister_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
	"github.com/rafaeldepontes/go-chat/migrations"
	"github.com/rafaeldepontes/go-chat/persister"
	"github.com/rafaeldepontes/go-chat/persister/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
	pool, url := dbtest.Postgres(tb)
	first := true
	return storetest.Database{Open: func(tb testing.TB) persister.Store {
		if first {
			first = false
			return persister.NewPostgres(pool)
		}
		return persister.NewPostgres(dbtest.Pool(tb, url))
	}}
}

// sqlite is a fresh file. One process owns it, so all stores share its connections.
func sqlite(tb testing.TB) storetest.Database {
	s := dbtest.SQLite(tb, migrations.Persister)
	return storetest.Database{Open: func(testing.TB) persister.Store { return persister.NewSQLite(s.Writer, s.Reader) }}
}

// both runs a test on each database.
func both(t *testing.T, run func(t *testing.T, db storetest.Database)) {
	t.Helper()
	for name, fresh := range map[string]func(testing.TB) storetest.Database{"postgres": postgres, "sqlite": sqlite} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, fresh(t))
		})
	}
}
