package main

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/migrations"
	"github.com/rafaeldepontes/go-chat/persister"
)

// openDead opens the poison queue, or the letters of a data folder where one is named. To look only, it goes beside a
// process that owns the folder.
func openDead(ctx context.Context, data string, lookOnly bool, broker brokerConfig, ca func() (*tls.Config, error)) (deadQueue, error) {
	if data != "" {
		return openDeadFolder(ctx, data, lookOnly)
	}
	trust, err := ca()
	if err != nil {
		return nil, err
	}
	return bus.OpenPoisonQueue(ctx, bus.AMQPConfig{
		URL: broker.url, Topology: events.Topology{Prefix: broker.prefix}, Instance: "gochat dead", TLS: trust,
	})
}

// deadFolder is the dead letters of gochat up.
type deadFolder struct {
	letters *persister.DeadLetters
	store   persister.Store // nil: to look only
	close   func() error
}

func openDeadFolder(ctx context.Context, dir string, lookOnly bool) (*deadFolder, error) {
	if lookOnly {
		reader, err := openBeside(ctx, dir, migrations.Persister)
		if err != nil {
			return nil, err
		}
		return &deadFolder{letters: persister.NewDeadLetters(nil, reader), close: reader.Close}, nil
	}
	if err := isFolder(dir); err != nil {
		return nil, err
	}
	lock, err := db.LockDir(dir)
	if err != nil {
		return nil, err
	}
	s, err := openOwned(ctx, dir, migrations.Persister)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &deadFolder{
		letters: persister.NewDeadLetters(s.Writer, s.Reader), store: persister.NewSQLite(s.Writer, s.Reader),
		close: func() error { return errors.Join(s.Close(), lock.Close()) },
	}, nil
}

// openOwned opens a service's file of a data folder for writing; the folder is locked. Opening makes what is missing, and
// a folder that up never used must stay as it is, so it looks first.
func openOwned(ctx context.Context, dir string, service migrations.Service) (*db.SQLite, error) {
	look, err := openBeside(ctx, dir, service)
	if err != nil {
		return nil, err
	}
	if err := look.Close(); err != nil {
		return nil, err
	}
	return db.OpenSQLite(ctx, filepath.Join(dir, string(service)+".db"))
}

// openBeside opens a service's file of a data folder for reading, whoever owns it.
func openBeside(ctx context.Context, dir string, service migrations.Service) (*sql.DB, error) {
	if err := isFolder(dir); err != nil {
		return nil, err
	}
	reader, err := db.ViewSQLite(ctx, filepath.Join(dir, string(service)+".db"))
	if err != nil {
		return nil, fmt.Errorf("%w; did gochat up ever run there?", err)
	}
	if err := checkVersion(ctx, reader, service); err != nil {
		return nil, errors.Join(err, reader.Close())
	}
	return reader, nil
}

// checkVersion sees that a file is of this binary's version.
func checkVersion(ctx context.Context, file *sql.DB, service migrations.Service) error {
	m, err := migrations.SQLite(file, service)
	if err != nil {
		return err
	}
	return m.Check(ctx)
}

// Close gives the folder up.
func (f *deadFolder) Close() error { return f.close() }

// Scan is [bus.PoisonQueue.Scan] without a broker: to replay an event is to hand it to the store, where the outbox would
// bring it too, and the answer is known at once. A letter whose event is refused again stays, and the error says so.
func (f *deadFolder) Scan(ctx context.Context, visit func(events.DeadLetter) (bus.Verdict, bool)) (s bus.Scanned, err error) {
	var refused []error
	err = f.letters.List(ctx, func(l events.DeadLetter) (bool, error) {
		s.There, s.Seen = s.There+1, s.Seen+1
		v, more := visit(l)
		switch v {
		case bus.Drop:
			s.Dropped++
			return more, f.letters.Remove(ctx, l.Key)
		case bus.Replay:
			err := f.replay(ctx, l)
			switch {
			case err == nil:
				s.Replayed++
			case events.IsPermanent(err):
				refused = append(refused, fmt.Errorf("%s stays: %w", l.Key, err))
			default:
				return false, fmt.Errorf("replay %s: %w", l.Key, err)
			}
		case bus.Keep:
		}
		return more, nil
	})
	return s, errors.Join(append(refused, err)...)
}

func (f *deadFolder) replay(ctx context.Context, l events.DeadLetter) error {
	evs, err := l.Events()
	if err != nil {
		return err
	}
	errs, err := f.store.Insert(ctx, evs)
	if err := errors.Join(append(errs, err)...); err != nil {
		return err
	}
	return f.letters.Remove(ctx, l.Key)
}
