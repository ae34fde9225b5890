package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/config"
	"github.com/rafaeldepontes/go-chat/internal/doctor"
)

func doctorCommand() command {
	return command{
		name: "doctor", summary: "examines an installation: what is right, and what is wrong with its remedy",
		setup: func(s *config.Set) runFunc {
			database, broker := declareDatabase(s), declareBroker(s)
			data := s.String("data", "", "folder of the SQLite files of gochat up, in the place of PostgreSQL and RabbitMQ", config.FlagOnly(), config.Value("DIR"))
			client := declareClient(s)
			history := declareHistory(s, func() (*tls.Config, error) {
				c, err := client()
				return c.tls, err
			})
			origins, files := declareOrigins(s), declareTLSFiles(s)
			asJSON := s.Bool("json", false, "print an array of {name, status, detail, remedy}", config.FlagOnly())
			return func(ctx context.Context, std stdio, args []string) error {
				if len(args) > 0 {
					return usagef("doctor takes no words: %q", args[0])
				}
				chat, err := client()
				if err != nil {
					return err
				}
				past, err := history()
				if err != nil {
					return err
				}
				b := broker()
				c := doctor.Config{
					Data: *data, DatabaseURL: database().url, BrokerURL: b.url, Topology: events.Topology{Prefix: b.prefix}, BrokerTLS: chat.tls,
					HistoryAddr: past.addr, HistoryCredentials: past.credentials,
					Server: chat.server, ServerTLS: chat.tls, Name: cmp.Or(chat.name, "doctor"), Token: chat.token, Origins: origins(),
				}
				c.CertFile, c.KeyFile = files()
				return runDoctor(ctx, std, c, *asJSON)
			}
		},
	}
}

// runDoctor prints the page, or the array, and returns an error when a check failed.
func runDoctor(ctx context.Context, std stdio, c doctor.Config, asJSON bool) error {
	e := doctor.New(c)
	var reports []doctor.Report
	var err error
	if asJSON {
		reports = e.Run(ctx, func(doctor.Report) {})
		enc := json.NewEncoder(std.out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		err = enc.Encode(reports)
	} else {
		colours, columns := terminal(std.out, std.getenv)
		page := doctor.NewPage(std.out, e, colours, columns)
		page.Title(clean(c.Title()))
		reports = e.Run(ctx, page.Tell)
		err = page.Close()
	}
	switch n := doctor.Failed(reports); {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return err
	case n > 0:
		return fmt.Errorf("doctor: %d of %s failed", n, count(len(reports), "check"))
	}
	return nil
}

// terminal tells whether w takes colours, and its width; 0 where w is no terminal. See no-color.org for NO_COLOR.
func terminal(w io.Writer, getenv func(string) string) (colours bool, columns int) {
	f, ok := w.(*os.File)
	if !ok || !isTerminal(f) {
		return false, 0
	}
	if width, _, err := term.GetSize(int(f.Fd())); err == nil {
		columns = width
	}
	return getenv("NO_COLOR") == "" && getenv("TERM") != "dumb", columns
}
