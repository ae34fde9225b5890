package store_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
)

// What the database itself refuses, here keys that no index entry can hold, fails alone too.
func TestRefusedRowFailsAlone(t *testing.T) {
	t.Parallel()
	pool, _ := dbtest.Postgres(t)
	s := store.NewPostgres(pool)
	huge := make([]byte, 20_000)
	_, _ = rand.Read(huge)
	batch := sends("", 64)
	batch[7].ID = fmt.Sprintf("%x", huge)
	batch[40].Sender = fmt.Sprintf("%x", huge)
	batch[63].Room = fmt.Sprintf("%x", huge)
	receipts, err := s.Accept(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range receipts {
		bad := i == 7 || i == 40 || i == 63
		if bad != errors.Is(r.Err, store.ErrBadRow) {
			t.Errorf("send %d: got %v", i, r.Err)
		}
	}
	mustEachOnce(t, s, 61)
	if _, err := s.OpenRoom(t.Context(), batch[63].Room); !errors.Is(err, store.ErrBadRow) {
		t.Errorf("open a room of that name: got %v, want ErrBadRow", err)
	}
}

// However long the search for the refused ones may take, nothing is accepted that has no seq.
func TestNothingIsAcceptedWhereTheSearchForRefusedRowsEndsEarly(t *testing.T) {
	t.Parallel()
	pool, _ := dbtest.Postgres(t)
	s := store.NewPostgres(pool)
	huge := make([]byte, 20_000)
	_, _ = rand.Read(huge)
	for try, early := 0, true; early; try++ {
		batch := sends(fmt.Sprint(try, "-"), 64)
		for i := range batch[1:] {
			batch[1+i].ID = fmt.Sprintf("%x %d %d", huge, try, i)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond<<try)
		receipts, err := s.Accept(ctx, batch)
		cancel()
		if early = err != nil; early {
			continue
		}
		for i, r := range receipts {
			if refused := errors.Is(r.Err, store.ErrBadRow); refused != (i > 0) || (r.Seq > 0) == refused {
				t.Fatalf("try %d, send %d: got %+v", try, i, r)
			}
		}
	}
}
