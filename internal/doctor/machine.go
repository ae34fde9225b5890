package doctor

import (
	"cmp"
	"context"
	"crypto/x509"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/tlsfiles"
)

// Bounds of what a machine should have.
const (
	filesFail, filesWarn = 1024, 10_000 // each connection takes one
	diskFail, diskWarn   = 256 << 20, 2 << 30
	certificateWarn      = 14 * 24 * time.Hour
)

func (e *Examination) addMachine(c Config) {
	e.add(sectionMachine, "open files", func(context.Context) outcome {
		n, known := openFilesLimit()
		if !known {
			return skip("this system has no such limit")
		}
		return openFiles(n)
	})
	e.add(sectionMachine, "free disk", func(context.Context) outcome {
		dir, err := filepath.Abs(cmp.Or(c.Data, "."))
		if err != nil {
			return failErr(err, "")
		}
		free, total, err := diskSpace(dir)
		if err != nil {
			return skip("the disk of %s cannot be asked: %s", dir, oneLine(err.Error()))
		}
		return disk(dir, free, total)
	})
	if c.CertFile != "" {
		e.add(sectionMachine, "certificate file", func(context.Context) outcome {
			pair, err := tlsfiles.Load(c.CertFile, c.KeyFile, slog.New(slog.DiscardHandler))
			if err != nil {
				return failErr(err, "correct --tls-cert and --tls-key")
			}
			return dates(pair.Leaf(), time.Now())
		})
	}
}

// openFiles judges the limit of this process. Go raises the soft one to the hard one at the start of every program, so
// that it is also that of a service started from here.
func openFiles(n uint64) outcome {
	const remedy = "raise it where the services are started: LimitNOFILE= of a systemd unit, ulimit -n of a shell, --ulimit nofile of a container"
	const text = "%d for programs started from here; each connection takes one"
	switch {
	case n < filesFail:
		return fail(remedy, text, n)
	case n < filesWarn:
		return warn(remedy, text, n)
	}
	return ok("%d for programs started from here", n)
}

func disk(dir string, free, total uint64) outcome {
	const remedy = "free some, or move the folder; a full disk refuses messages and loses none"
	const text = "%s of %s free at %s"
	switch a := []any{size(int64(free)), size(int64(total)), dir}; {
	case free < diskFail:
		return fail(remedy, text, a...)
	case free < diskWarn:
		return warn(remedy, text, a...)
	default:
		return ok(text, a...)
	}
}

// dates judges the time that a certificate is good for.
func dates(c *x509.Certificate, now time.Time) outcome {
	const remedy = "renew it; a listener takes the new files without a restart"
	until := c.NotAfter.UTC().Format(time.DateOnly)
	switch left := c.NotAfter.Sub(now); {
	case left < 0:
		return fail(remedy, "expired on %s", until)
	case now.Before(c.NotBefore):
		return fail("is the clock right? else wait, or get another", "not valid before %s", c.NotBefore.UTC().Format(time.DateOnly))
	case left < certificateWarn:
		return warn(remedy, "good until %s, for %d days more", until, int(left.Hours()/24))
	}
	return ok("good until %s", until)
}
