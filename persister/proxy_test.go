package persister_test

import (
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
	"github.com/rafaeldepontes/go-chat/internal/faultproxy"
)

// behindProxy is a fresh database, a pool that reaches it through a proxy, and one that reaches it directly.
func behindProxy(tb testing.TB) (px *faultproxy.Proxy, through, direct *pgxpool.Pool) {
	tb.Helper()
	direct, databaseURL := dbtest.Postgres(tb)
	u, err := url.Parse(databaseURL)
	if err != nil {
		tb.Fatal(err)
	}
	px, err = faultproxy.New(u.Host)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = px.Close() })
	u.Host = px.Addr()
	return px, dbtest.Pool(tb, u.String()), direct
}
