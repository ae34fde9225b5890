package doctor

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// example is an examination with every status, and with texts that are too long for a narrow terminal.
func example() *Examination {
	e := &Examination{within: checkWithin}
	e.add("Database", "reachable", always(ok("database chat as gochat, in 1.2ms")))
	fsync := e.add("Database", "fsync", always(fail("ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf();", "off: a power cut can lose or destroy what was accepted")))
	e.add("Database", "clock", always(ok("never seen")), fsync)
	e.add("Services", "origins", always(warn("list the origins of your pages in GOCHAT_ORIGINS", "pages of any origin may connect")))
	e.add("Services", "certificate", always(skip("the address is ws://, without TLS")))
	return e
}

func page(t *testing.T, colours bool, columns int) string {
	t.Helper()
	var b strings.Builder
	e := example()
	p := NewPage(&b, e, colours, columns)
	p.Title("gochat doctor: an example")
	e.Run(t.Context(), p.Tell)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	return b.String()
}

func TestPage(t *testing.T) {
	t.Parallel()
	const want = `gochat doctor: an example

Database
  ✓ reachable    database chat as gochat, in 1.2ms
  ✗ fsync        off: a power cut can lose or destroy what was accepted
                 → ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf();
  – clock        not checked, because of ✗ database fsync

Services
  ! origins      pages of any origin may connect
                 → list the origins of your pages in GOCHAT_ORIGINS
  – certificate  not checked, because the address is ws://, without TLS

✓ 1 ok · ! 1 to look at · ✗ 1 wrong · – 2 not checked
`
	if diff := cmp.Diff(want, page(t, false, 0)); diff != "" {
		t.Error(diff)
	}
}

func TestPageOnANarrowTerminal(t *testing.T) {
	t.Parallel()
	const want = `gochat doctor: an example

Database
  ✓ reachable    database chat as gochat, in
                 1.2ms
  ✗ fsync        off: a power cut can lose or
                 destroy what was accepted
                 → ALTER SYSTEM SET fsync =
                   on; SELECT
                   pg_reload_conf();
  – clock        not checked, because of ✗
                 database fsync

Services
  ! origins      pages of any origin may
                 connect
                 → list the origins of your
                   pages in GOCHAT_ORIGINS
  – certificate  not checked, because the
                 address is ws://, without TLS

✓ 1 ok · ! 1 to look at · ✗ 1 wrong · – 2 not checked
`
	if diff := cmp.Diff(want, page(t, false, 46)); diff != "" {
		t.Error(diff)
	}
	const seen = "  \x1b[31m✗\x1b[0m fsync        off: a power cut"
	if got := page(t, true, 200); !strings.Contains(got, seen) {
		t.Errorf("with colours: no %q in\n%q", seen, got)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("gone") }

func TestPageTellsThatItCouldNotBeWritten(t *testing.T) {
	t.Parallel()
	e := example()
	p := NewPage(broken{}, e, false, 0)
	e.Run(t.Context(), p.Tell)
	if err := p.Close(); err == nil {
		t.Error("no error")
	}
}
