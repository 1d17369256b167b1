package uapi

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
)

const (
	// maxLine is more than twice the longest line there is, one with an endpoint with a long zone.
	maxLine = 512
	// maxRequest bounds the octets of a request; a million allowed prefixes fit.
	maxRequest = 64 << 20
)

// RequestError is a request that is refused. Its text names the key but no value: the value may be a secret.
type RequestError struct {
	// Errno is what the client is told.
	Errno syscall.Errno
	// Line counts from 1, the operation's own.
	Line int
	// Key is "" where the line has none that is known.
	Key string
	// Problem says what is wrong, Want what would be right.
	Problem, Want string
}

// Error implements error.
func (e *RequestError) Error() string {
	key := e.Key
	if key != "" {
		key += ": "
	}
	return fmt.Sprintf("line %d of the request: %s%s; want %s", e.Line, key, e.Problem, e.Want)
}

// Unwrap gives the errno.
func (e *RequestError) Unwrap() error { return e.Errno }

// errTooLarge ends a connection: its next request cannot be found.
var errTooLarge = fmt.Errorf("more than a request may have: %w", syscall.EMSGSIZE)

// connError is what ended a connection, as opposed to what a Device says: nobody is there to be answered.
type connError struct{ error }

// Unwrap gives the cause.
func (e *connError) Unwrap() error { return e.error }

// lines reads a request line by line.
type lines struct {
	r      *bufio.Reader
	number int
	octets int
}

// next returns a line without its end. A line that is cut off by the end of the stream is none.
func (l *lines) next() (string, error) {
	b, err := l.r.ReadSlice('\n')
	l.number++
	l.octets += len(b)
	switch {
	case errors.Is(err, bufio.ErrBufferFull) || len(b) > maxLine || l.octets > maxRequest:
		return "", errTooLarge
	case err != nil && len(b) > 0 && errors.Is(err, io.EOF):
		return "", &connError{io.ErrUnexpectedEOF}
	case err != nil:
		return "", &connError{err}
	}
	return string(b[:len(b)-1]), nil
}

// drain reads to the empty line and returns how many lines stood before it.
func (l *lines) drain() (int, error) {
	for n := 0; ; n++ {
		line, err := l.next()
		if line == "" || err != nil {
			return n, err
		}
	}
}

// readChange reads the lines of a "set" request, through the empty one. The error is a *RequestError for a request that is wrong
// and was read to its end, any other one for a connection of no further use.
func readChange(l *lines) (Change, error) {
	var c Change
	var peer *PeerChange
	for {
		line, err := l.next()
		if err != nil || line == "" {
			return c, err
		}
		if wrong := c.line(&peer, line); wrong != nil {
			wrong.Line = l.number
			if _, err := l.drain(); err != nil {
				return Change{}, err
			}
			return Change{}, wrong
		}
	}
}

// line takes one line in; *peer is the peer whose lines follow, nil before the first.
func (c *Change) line(peer **PeerChange, line string) *RequestError {
	key, value, ok := strings.Cut(line, "=")
	if !ok {
		return &RequestError{Errno: syscall.EPROTO, Problem: "a line without \"=\"", Want: "KEY=VALUE"}
	}
	var problem, want string
	switch {
	case key == "public_key":
		c.Peers = append(c.Peers, PeerChange{})
		*peer = &c.Peers[len(c.Peers)-1]
		k, ok := parseKey(value)
		(*peer).PublicKey = k
		problem, want = complain(ok, "64 hexadecimal digits")
	case *peer == nil:
		problem, want = c.set(key, value)
	default:
		problem, want = (*peer).set(key, value)
	}
	switch problem {
	case "":
		return nil
	case unknown:
		// The key is not shown: it may be anything.
		key = ""
	}
	return &RequestError{Errno: syscall.EINVAL, Key: key, Problem: problem, Want: want}
}

const unknown = "no such key here"

// complain is the problem of a value and what would be right, nothing of one that is.
func complain(ok bool, wanted string) (problem, want string) {
	if ok {
		return "", ""
	}
	return "not a value for it", wanted
}

func (c *Change) set(key, value string) (problem, want string) {
	switch key {
	case "private_key":
		raw, ok := parseKey(value)
		k := Key(raw)
		if !k.IsZero() {
			k = k.clamp()
		}
		c.PrivateKey = &k
		return complain(ok, "64 hexadecimal digits, all 0 for none")
	case "listen_port":
		n, ok := number(value, 16)
		port := uint16(n)
		c.ListenPort = &port
		return complain(ok, "0 to 65535")
	case "fwmark":
		n, ok := number(value, 32)
		mark := uint32(n)
		c.FwMark = &mark
		return complain(ok, "0 to 4294967295")
	case "replace_peers":
		c.ReplacePeers = true
		return complain(value == "true", "true")
	}
	return unknown, "private_key, listen_port, fwmark, replace_peers or public_key"
}

func (p *PeerChange) set(key, value string) (problem, want string) {
	switch key {
	case "remove":
		p.Remove = true
		return complain(value == "true", "true")
	case "update_only":
		p.UpdateOnly = true
		return complain(value == "true", "true")
	case "preshared_key":
		raw, ok := parseKey(value)
		k := Key(raw)
		p.PresharedKey = &k
		return complain(ok, "64 hexadecimal digits, all 0 for none")
	case "endpoint":
		e, err := netip.ParseAddrPort(value)
		p.Endpoint = netip.AddrPortFrom(e.Addr().Unmap(), e.Port())
		return complain(err == nil && e.Port() != 0, "IPV4:PORT or [IPV6]:PORT, with a port of 1 to 65535")
	case "persistent_keepalive_interval":
		n, ok := number(value, 16)
		seconds := uint16(n)
		p.PersistentKeepalive = &seconds
		return complain(ok, "0 to 65535 seconds")
	case "replace_allowed_ips":
		// It replaces what the peer has, and of this request what stood before it.
		p.ReplaceAllowedIPs, p.AllowedIPs = true, nil
		return complain(value == "true", "true")
	case "allowed_ip":
		value, remove := strings.CutPrefix(value, "-")
		prefix, err := netip.ParsePrefix(value)
		p.AllowedIPs = append(p.AllowedIPs, AllowedIP{Prefix: prefix.Masked(), Remove: remove})
		return complain(err == nil, "ADDRESS/LENGTH, with \"-\" in front to remove it")
	case "protocol_version":
		return complain(value == "1", "1, the only version there is")
	}
	return unknown, "a key of a peer"
}

func number(text string, bits int) (uint64, bool) {
	n, err := strconv.ParseUint(text, 10, bits)
	return n, err == nil
}
