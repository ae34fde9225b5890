package tlsfiles

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc/credentials"
)

// Explain puts the reason why a TLS connection was refused into plain words, with what to do, in front of err. Other
// errors, and nil, are returned as they are.
func Explain(err error) error {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &authority):
		return fmt.Errorf("the server's certificate comes from an authority that is not trusted here; --ca names the file of one that is: %w", err)
	case errors.As(err, &name):
		return fmt.Errorf("the server's certificate is not for %s; gochat gencert --host makes one for development: %w", name.Host, err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil && time.Now().Before(invalid.Cert.NotBefore):
		return fmt.Errorf("the server's certificate is not valid before %s: %w", date(invalid.Cert.NotBefore), err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil:
		return fmt.Errorf("the server's certificate expired on %s: %w", date(invalid.Cert.NotAfter), err)
	case errors.As(err, &record):
		return fmt.Errorf("the server does not speak TLS at this address: %w", err)
	default:
		return err
	}
}

func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// GRPC makes credentials of a client from its configuration. gRPC keeps only the text of a failed handshake, so it is
// explained here.
func GRPC(cfg *tls.Config) credentials.TransportCredentials {
	return explained{credentials.NewTLS(cfg)}
}

type explained struct {
	credentials.TransportCredentials
}

// ClientHandshake explains why it failed.
func (e explained) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := e.TransportCredentials.ClientHandshake(ctx, authority, raw)
	return conn, info, Explain(err)
}

// Clone keeps the explaining.
func (e explained) Clone() credentials.TransportCredentials {
	return explained{e.TransportCredentials.Clone()}
}
