package store_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/chatroom/store/storetest"
	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
	"github.com/rafaeldepontes/go-chat/migrations"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSQLite(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) (a, b store.Store) {
		t.Helper()
		s := store.NewSQLite(dbtest.SQLite(t, migrations.Chatroom))
		return s, s
	})
}

func TestMemory(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) (a, b store.Store) {
		s := storetest.NewMemory()
		return s, s
	})
}
