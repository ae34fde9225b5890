// Package tlsfiles turns certificate files into TLS configurations, and makes such files for development.
//
// It promises: what is wrong with a file is said at start, with the file's name; a listener takes a renewed certificate
// without a restart; a connection that fails for its certificate says why in plain words ([Explain]). Keys are written
// with mode 0600. TLS 1.2 is the least. The package starts no goroutine.
package tlsfiles

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Pair is a certificate and its key from two PEM files. It reads them again when one of them changed; while the new ones
// do not fit together, as in the middle of a renewal, the old ones stay in use.
type Pair struct {
	// Immutable.
	certFile, keyFile string
	logger            *slog.Logger

	mu      sync.Mutex // guards the fields below
	current *tls.Certificate
	stamp   stamp // of the files that current came from
	refused stamp // of files that could not be used: logged once
}

// stamp tells one version of the two files from another.
type stamp struct {
	certTime, keyTime time.Time
	certSize, keySize int64
}

// Load reads the files. Its errors name the file and what is wrong with it; an expired certificate, or one whose time
// has not come, is a warning to the logger and no error, since a clock may be wrong.
func Load(certFile, keyFile string, logger *slog.Logger) (*Pair, error) {
	p := &Pair{certFile: certFile, keyFile: keyFile, logger: logger}
	// The stamp is taken before the files are read: a change in between is seen at the next handshake.
	now, err := p.look()
	if err != nil {
		return nil, err
	}
	if p.current, err = readPair(certFile, keyFile); err != nil {
		return nil, err
	}
	p.stamp = now
	p.warnOfDates()
	return p, nil
}

// ServerConfig is a configuration for a listener.
func (p *Pair) ServerConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return p.certificate(), nil
		},
	}
}

// Leaf is the certificate in use.
func (p *Pair) Leaf() *x509.Certificate { return p.certificate().Leaf }

// certificate looks whether the files changed, which costs two calls of stat a handshake.
func (p *Pair) certificate() *tls.Certificate {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, err := p.look()
	if err != nil || now == p.stamp || now == p.refused {
		return p.current
	}
	fresh, err := readPair(p.certFile, p.keyFile)
	if err != nil {
		p.refused = now
		p.logger.Warn("changed certificate is not usable, the old one stays", "error", err)
		return p.current
	}
	p.current, p.stamp = fresh, now
	p.logger.Info("certificate read again", "file", p.certFile, "not_after", fresh.Leaf.NotAfter)
	p.warnOfDates()
	return p.current
}

func (p *Pair) warnOfDates() {
	leaf := p.current.Leaf
	switch now := time.Now(); {
	case now.After(leaf.NotAfter):
		p.logger.Warn("certificate has expired", "file", p.certFile, "not_after", leaf.NotAfter)
	case now.Before(leaf.NotBefore):
		p.logger.Warn("certificate is not valid yet", "file", p.certFile, "not_before", leaf.NotBefore)
	}
}

func (p *Pair) look() (stamp, error) {
	cert, err := os.Stat(p.certFile)
	if err != nil {
		return stamp{}, fileError("certificate", p.certFile, err)
	}
	key, err := os.Stat(p.keyFile)
	if err != nil {
		return stamp{}, fileError("key", p.keyFile, err)
	}
	return stamp{cert.ModTime(), key.ModTime(), cert.Size(), key.Size()}, nil
}

func readPair(certFile, keyFile string) (*tls.Certificate, error) {
	cert, err := readCertificates(certFile)
	if err != nil {
		return nil, err
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fileError("key", keyFile, err)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", keyFile, err)
	}
	if public, ok := key.Public().(interface{ Equal(x crypto.PublicKey) bool }); ok && public.Equal(cert[0].PublicKey) {
		pair := &tls.Certificate{PrivateKey: key, Leaf: cert[0]}
		for _, c := range cert {
			pair.Certificate = append(pair.Certificate, c.Raw)
		}
		return pair, nil
	}
	return nil, fmt.Errorf("key %s does not belong to the certificate %s", keyFile, certFile)
}

// ClientConfig is a configuration for a client. caFile names a PEM file with the only authorities to trust; empty: the
// system's.
func ClientConfig(caFile string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return cfg, nil
	}
	authorities, err := readCertificates(caFile)
	if err != nil {
		return nil, err
	}
	cfg.RootCAs = x509.NewCertPool()
	for _, c := range authorities {
		cfg.RootCAs.AddCert(c)
	}
	return cfg, nil
}

func fileError(what, file string, err error) error {
	var path *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s %s: no such file", what, file)
	case errors.As(err, &path):
		return fmt.Errorf("%s %s: %w", what, file, path.Err)
	default:
		return fmt.Errorf("%s %s: %w", what, file, err)
	}
}
