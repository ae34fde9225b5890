package events

import "errors"

// permanentError marks an error that no retry can heal.
type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// Permanent marks err: trying the same event again cannot help, so a consumer puts it into the dead letters instead of
// retrying. The text stays the same, and errors.Is and errors.As see through. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err: err}
}

// IsPermanent tells whether err, or an error that it wraps, was marked by [Permanent], or wraps [ErrMalformed]: bytes
// that cannot be read today cannot be read tomorrow. Everything else is taken for an outage.
func IsPermanent(err error) bool {
	var p *permanentError
	return errors.As(err, &p) || errors.Is(err, ErrMalformed)
}
