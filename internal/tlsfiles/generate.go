package tlsfiles

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// DefaultHosts are the names that a generated certificate is always good for.
func DefaultHosts() []string { return []string{"localhost", "127.0.0.1", "::1"} }

// authorityDays is how long a generated authority lives.
const authorityDays = 3650

// backdate lets clocks that are a little behind accept a fresh certificate.
const backdate = time.Hour

// GenerateOptions say what [Generate] makes.
type GenerateOptions struct {
	Dir   string        // made when missing, mode 0700
	Hosts []string      // names and IP addresses beside [DefaultHosts]
	Life  time.Duration // of the certificate; cut at the end of its authority's
	Force bool          // replace a certificate that is there, and an authority that is not usable
	Now   time.Time     // zero: the time of the call
}

// Generated tells what [Generate] wrote.
type Generated struct {
	CA, CAKey, Cert, Key string // the files
	NewAuthority         bool   // false: the one in the folder signed
	Hosts                []string
	NotAfter             time.Time
}

// Generate writes a certificate authority, unless the folder has one, and a certificate signed by it, with ECDSA keys on
// P-256. It is for development: whoever reads ca-key.pem can pretend to be any server to those who trust ca.pem.
func Generate(opts GenerateOptions) (Generated, error) {
	now := opts.Now
	if now.IsZero() {
		now = time.Now()
	}
	in := func(name string) string { return filepath.Join(opts.Dir, name) }
	out := Generated{CA: in("ca.pem"), CAKey: in("ca-key.pem"), Cert: in("cert.pem"), Key: in("key.pem")}
	out.Hosts = append(DefaultHosts(), opts.Hosts...)
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return out, fmt.Errorf("make folder: %w", err)
	}
	if !opts.Force {
		for _, file := range []string{out.Cert, out.Key} {
			if exists(file) {
				return out, fmt.Errorf("%s is there already; --force replaces it", file)
			}
		}
	}
	authority, signer, err := openAuthority(out.CA, out.CAKey, now)
	if errors.Is(err, fs.ErrNotExist) || (err != nil && opts.Force) {
		out.NewAuthority = true
		authority, signer, err = newAuthority(out.CA, out.CAKey, now)
	}
	if err != nil {
		return out, err
	}
	out.NotAfter, err = newCertificate(out, authority, signer, now, opts.Life)
	return out, err
}

// openAuthority returns an error that wraps fs.ErrNotExist only when neither file is there.
func openAuthority(certFile, keyFile string, now time.Time) (*x509.Certificate, crypto.Signer, error) {
	switch hasCert, hasKey := exists(certFile), exists(keyFile); {
	case !hasCert && !hasKey:
		return nil, nil, fs.ErrNotExist
	case !hasCert:
		return nil, nil, fmt.Errorf("%s is there but not %s; --force makes a new authority", keyFile, certFile)
	case !hasKey:
		return nil, nil, fmt.Errorf("%s is there but not %s; --force makes a new authority", certFile, keyFile)
	}
	pair, err := readPair(certFile, keyFile)
	if err != nil {
		return nil, nil, fmt.Errorf("%w; --force makes a new authority", err)
	}
	if !pair.Leaf.IsCA {
		return nil, nil, fmt.Errorf("%s is no certificate authority; --force makes a new one", certFile)
	}
	if now.After(pair.Leaf.NotAfter) {
		return nil, nil, fmt.Errorf("%s expired on %s; --force makes a new authority", certFile, date(pair.Leaf.NotAfter))
	}
	return pair.Leaf, pair.PrivateKey.(crypto.Signer), nil
}

func newAuthority(certFile, keyFile string, now time.Time) (*x509.Certificate, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make key of authority: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "gochat development authority " + date(now)},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.AddDate(0, 0, authorityDays),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("make certificate of authority: %w", err)
	}
	if err := writeBoth(certFile, keyFile, der, key); err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

func newCertificate(out Generated, authority *x509.Certificate, signer crypto.Signer, now time.Time, life time.Duration) (time.Time, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return time.Time{}, fmt.Errorf("make key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return time.Time{}, err
	}
	notAfter := now.Add(life)
	if notAfter.After(authority.NotAfter) {
		notAfter = authority.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "gochat development server"},
		NotBefore:    now.Add(-backdate),
		NotAfter:     notAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range out.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, authority, key.Public(), signer)
	if err != nil {
		return time.Time{}, fmt.Errorf("make certificate: %w", err)
	}
	return notAfter, writeBoth(out.Cert, out.Key, der, key)
}

func writeBoth(certFile, keyFile string, cert []byte, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode key: %w", err)
	}
	if err := writePEM(keyFile, "PRIVATE KEY", der, 0o600); err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	if err := writePEM(certFile, "CERTIFICATE", cert, 0o644); err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	return nil
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	return serial, nil
}

func exists(file string) bool {
	_, err := os.Lstat(file)
	return err == nil
}
