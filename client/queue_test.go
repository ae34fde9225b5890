package client_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rafaeldepontes/go-chat/client"
)

func message(id string) client.Queued {
	return client.Queued{ID: id, Room: "ops", Text: "text <&> of " + id, At: time.UnixMilli(1767366245678).UTC()}
}

func mustOpen(tb testing.TB, dir string) (*client.Queue, []client.Queued) {
	tb.Helper()
	q, left, err := client.OpenQueue(dir, "ws://host:8080", "ann")
	if err != nil {
		tb.Fatal(err)
	}
	return q, left
}

func ids(ms []client.Queued) string {
	var out []string
	for _, m := range ms {
		out = append(out, m.ID)
	}
	return strings.Join(out, " ")
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func TestQueueKeepsWhatIsNotDoneInOrder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	q, left := mustOpen(t, dir)
	if len(left) != 0 {
		t.Fatalf("a new queue has %v", left)
	}
	must(t, q.Add(message("a"), message("b")))
	must(t, q.Add(message("c")))
	must(t, q.Done("b"))
	must(t, q.Done("a"))
	must(t, q.Add(message("a"))) // used again after it was done
	must(t, q.Add(message("c"))) // written twice
	info, err := os.Stat(q.Path())
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode: got %v, want 0600", info.Mode())
	}
	// The process dies here; the next one finds what is left.
	q, left = mustOpen(t, dir)
	if diff := cmp.Diff([]client.Queued{message("c"), message("a")}, left); diff != "" {
		t.Errorf("left: (-want +got)\n%s", diff)
	}
	must(t, q.Done("a", "c"))
	left, err = q.Close()
	must(t, err)
	if len(left) != 0 {
		t.Errorf("got %v, want nothing", left)
	}
	if _, err := os.Stat(q.Path()); !os.IsNotExist(err) {
		t.Errorf("an empty queue has a file: %v", err)
	}
}

func TestQueueSurvivesAHalfWrittenLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	q, _ := mustOpen(t, dir)
	must(t, q.Add(message("a")))
	f, err := os.OpenFile(q.Path(), os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	_, err = f.WriteString(`{"id":"b","room":"o` + strings.Repeat("x", 20<<10))
	must(t, err)
	must(t, f.Close())
	must(t, q.Add(message("c")))
	if _, left := mustOpen(t, dir); ids(left) != "a c" {
		t.Errorf("got %q, want a c", ids(left))
	}
}

func TestQueueNamesADamagedLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	q, _ := mustOpen(t, dir)
	must(t, q.Add(message("a")))
	must(t, os.WriteFile(q.Path(), []byte("{\"id\":\"a\",\"room\":\"ops\"}\nrubbish\n"), 0o600))
	if _, _, err := client.OpenQueue(dir, "ws://host:8080", "ann"); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("got %v, want the line", err)
	}
}

func TestQueueIsSharedByProcesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			q, _, err := client.OpenQueue(dir, "ws://host:8080", "ann")
			if err != nil {
				t.Error(err)
				return
			}
			for i := range 20 {
				id := fmt.Sprintf("%d-%d", n, i)
				if err := q.Add(message(id)); err != nil {
					t.Error(err)
				}
				if i%2 == 0 {
					if err := q.Done(id); err != nil {
						t.Error(err)
					}
				}
				if i%7 == 0 {
					if _, err := q.Close(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	_, left := mustOpen(t, dir)
	if len(left) != 40 {
		t.Errorf("got %d left, want 40", len(left))
	}
}

func TestQueueFilesDifferByServerAndUser(t *testing.T) {
	t.Parallel()
	seen := make(map[string]string)
	for _, server := range []string{"ws://host:8080", "ws://host:8081", "wss://host:8080", "ws://höst", "ws://host:8080/a", "ws://host:8080/b", "ws://host:8080/b?c=1"} {
		for _, user := range []string{"ann", "bob", "a/../b", "a_.._b", "é", strings.Repeat("é", 50)} {
			name := client.QueueFile(server, user)
			if other, twice := seen[name]; twice {
				t.Errorf("%s %s and %s share %s", server, user, other, name)
			}
			seen[name] = server + " " + user
			if filepath.Base(name) != name {
				t.Errorf("%q is no file name", name)
			}
		}
	}
	for _, prefix := range []string{"", "/a"} { // all of them dial the same
		want := client.QueueFile("ws://host:8080"+prefix, "ann")
		for _, path := range []string{"/", "/ws", "/ws/"} {
			if got := client.QueueFile("ws://host:8080"+prefix+path, "ann"); got != want {
				t.Errorf("%s%s: got %s, want %s", prefix, path, got, want)
			}
		}
	}
}
