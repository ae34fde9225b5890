package db

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// OpenError says in one line why the database of DATABASE_URL cannot be used, and what to do. It holds no password.
type OpenError struct {
	reason    string
	retryable bool
	err       error
}

func (e *OpenError) Error() string { return "DATABASE_URL: " + e.reason }

func (e *OpenError) Unwrap() error { return e.err }

// Retryable tells whether an error of opening, or of a first question, may heal without a person: the server is not there
// yet, or any more, or starts, or is full. A wrong URL, a refused login or a missing database is final.
func Retryable(err error) bool {
	var oe *OpenError
	return errors.As(Explain(new(pgx.ConnConfig), err), &oe) && oe.retryable
}

// connString is how a connection string begins: a URL, or the keyword form of libpq (host=… dbname=…).
var connString = regexp.MustCompile(`^(postgres(ql)?://|\s*[a-z_]+\s*=)`)

// checkForm refuses what the parser would take for a parameter of the session, and send off, password and all.
func checkForm(url string) error {
	switch {
	case url == "":
		return &OpenError{reason: "is empty; want postgres://USER:PASSWORD@HOST:5432/DATABASE"}
	case !connString.MatchString(url):
		return errBadURL(errors.New("neither a URL nor keywords"))
	}
	return nil
}

// errBadURL leaves out what the parser says: its text quotes parts of the URL, and with a "/" or "@" that should have
// been encoded, such a part is the password.
func errBadURL(err error) error {
	return &OpenError{
		reason: "is not a PostgreSQL URL; want postgres://USER:PASSWORD@HOST:5432/DATABASE, " +
			"special characters of the password percent-encoded",
		err: redacted{err},
	}
}

// redacted keeps the chain for errors.As and hides the text.
type redacted struct{ err error }

func (r redacted) Error() string { return "cannot parse the URL" }
func (r redacted) Unwrap() error { return r.err }

// Explain turns an error of connecting with cfg into an [*OpenError]. An error that tells of no connection comes back
// as it is.
func Explain(cfg *pgx.ConnConfig, err error) error {
	var oe *OpenError
	if err == nil || errors.As(err, &oe) || errors.Is(err, context.Canceled) {
		return err
	}
	host := address(cfg)
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return explainServer(cfg, host, pg, err)
	}
	final := func(format string, args ...any) error {
		return &OpenError{reason: fmt.Sprintf(format, args...), err: err}
	}
	heals := func(format string, args ...any) error {
		return &OpenError{reason: fmt.Sprintf(format, args...), err: err, retryable: true}
	}
	var (
		dns      *net.DNSError
		cert     *tls.CertificateVerificationError
		hostname x509.HostnameError
		unknown  x509.UnknownAuthorityError
		record   tls.RecordHeaderError
		ne       net.Error
	)
	switch {
	case errors.As(err, &cert), errors.As(err, &hostname), errors.As(err, &unknown), errors.As(err, &record):
		return final("TLS with %s: %s; check sslmode and sslrootcert in the URL", host, lastLine(err))
	case strings.Contains(err.Error(), "server refused TLS connection"): // pgconn has no value for it
		return final("%s does not speak TLS; set sslmode=disable, or turn TLS on there", host)
	case errors.As(err, &dns):
		return heals("cannot reach %s: no such host; is the name right?", host)
	case errors.Is(err, syscall.ECONNREFUSED):
		return heals("cannot reach %s: connection refused; is PostgreSQL running? `task up` starts one", host)
	case errors.Is(err, syscall.ENOENT):
		return heals("cannot reach %s: no such socket; is PostgreSQL running?", host)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return heals("cannot reach %s: no answer in time; is the address right and the network open?", host)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, driver.ErrBadConn), errors.As(err, &ne):
		return heals("cannot reach %s: %s", host, lastLine(err))
	}
	return err
}

// explainServer sorts what the server itself answered, by SQLSTATE.
func explainServer(cfg *pgx.ConnConfig, host string, pg *pgconn.PgError, err error) error {
	e := &OpenError{err: err}
	switch {
	case pg.Code == "3D000": // invalid_catalog_name
		e.reason = fmt.Sprintf("%s has no database %q; create it, or correct the URL", host, cfg.Database)
	case strings.HasPrefix(pg.Code, "28"): // invalid authorization
		e.reason = fmt.Sprintf("%s refuses user %q: %s; check user and password in the URL", host, cfg.User, pg.Message)
	case strings.HasPrefix(pg.Code, "57P0"): // starting up, shutting down
		e.reason, e.retryable = fmt.Sprintf("%s is not ready: %s", host, pg.Message), true
	case pg.Code == "53300": // too_many_connections
		e.reason, e.retryable = fmt.Sprintf("%s is full: %s; raise max_connections there, or lower pool_max_conns in the URL", host, pg.Message), true
	default:
		e.reason = fmt.Sprintf("%s: %s (SQLSTATE %s)", host, pg.Message, pg.Code)
	}
	return e
}

// address names the server, or the servers, without user and password.
func address(cfg *pgx.ConnConfig) string {
	name := func(host string, port uint16) string {
		if strings.HasPrefix(host, "/") {
			return host
		}
		return net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	all := []string{name(cfg.Host, cfg.Port)}
	for _, f := range cfg.Fallbacks { // other hosts, and the same host without TLS
		if n := name(f.Host, f.Port); n != all[len(all)-1] {
			all = append(all, n)
		}
	}
	return strings.Join(all, ", ")
}

// lastLine is the innermost text of an error, on one line.
func lastLine(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			break
		}
		err = inner
	}
	s := strings.TrimSpace(err.Error())
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// hasParam tells whether a connection string, URL or keyword form, sets a parameter.
func hasParam(url, name string) bool { return strings.Contains(url, name+"=") }

// IsTooLarge tells whether the server refused a row since it, or its entry in an index, exceeds a limit of the server's. The
// SQLSTATE, program limit exceeded, is also that of a server that runs out of transaction ids and takes none any more, which
// says nothing of the row; the server names its source file, whatever its language is.
func IsTooLarge(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "54000" && pg.File != "varsup.c" && pg.File != "multixact.c"
}
