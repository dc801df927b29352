package selvage

import (
	"errors"
	"fmt"
)

// Kind says what sort of trouble an error is, so that each protocol can map it
// to a status of its own in one table.
type Kind int

// The kinds of error. An error of no kind is internal: the client is told an id,
// the log has the rest.
const (
	KindInternal        Kind = iota
	KindInvalid              // the request is wrong; the message says where and what to do
	KindUnauthenticated      // who asks is not known
	KindDenied               // who asks is known and may not
	KindNotFound             // the thing named is not there
	KindConflict             // the thing is there, or has changed meanwhile
	KindBusy                 // try again later
)

// String returns the kind's name as the API shows it.
func (k Kind) String() string {
	switch k {
	case KindInvalid:
		return "invalid"
	case KindUnauthenticated:
		return "unauthenticated"
	case KindDenied:
		return "denied"
	case KindNotFound:
		return "not-found"
	case KindConflict:
		return "conflict"
	case KindBusy:
		return "busy"
	}
	return "internal"
}

// Error is an error whose message is safe to show to whoever asked.
type Error struct {
	Kind Kind
	Msg  string
	err  error // the cause, from %w; for the log
}

// Errorf returns an *Error of the given kind. Like fmt.Errorf it wraps operands
// of %w. Nothing secret may go into it: the caller sees the message.
func Errorf(kind Kind, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Msg: err.Error(), err: errors.Unwrap(err)}
}

// Error returns the message.
func (e *Error) Error() string { return e.Msg }

// Unwrap returns the cause, if there is one.
func (e *Error) Unwrap() error { return e.err }

// KindOf returns the kind of the outermost *Error in err's chain, or KindInternal.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindInternal
}

// Is reports whether err is of the given kind.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }
