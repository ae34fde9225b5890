//go:build unix

package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
	"github.com/rafaeldepontes/go-chat/internal/services"
	"github.com/rafaeldepontes/go-chat/migrations"
)

// A commit that no standby has confirmed is not accepted, at the second try neither: who found the send to be known, and wrote
// nothing, would not be kept waiting by the server.
func TestAStandbyThatIsAwayKeepsARetryWaiting(t *testing.T) {
	t.Parallel()
	srv, err := services.StartPostgres(t.Context(), t.TempDir(), services.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Kill(); err != nil {
			t.Error(err)
		}
	})
	m, err := migrations.Postgres(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	pool := dbtest.Pool(t, srv.URL())
	s := store.NewPostgres(pool)
	if _, err := s.Accept(t.Context(), sends("before ", 2)); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = 'away'", "SELECT pg_reload_conf()"} {
		if _, err := pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	for waits := false; !waits; { // the server has not read it at once
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		_, err := pool.Exec(ctx, "UPDATE chatroom.rooms SET head = head")
		waits = err != nil
		cancel()
	}
	for n := 1; n <= 2; n++ {
		batch := sends(fmt.Sprint("of ", n, " "), n)
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			receipts, err := s.Accept(ctx, batch)
			cancel()
			if err == nil {
				t.Errorf("%d sends: got %+v", n, receipts)
			}
		}
	}
}
