package message

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// header is one of a message of n octets.
func header(n int, typ byte) []byte {
	h := append(bytes.Repeat([]byte{0xff}, 16), byte(n>>8), byte(n), typ)
	return h
}

func TestLength(t *testing.T) {
	unmarked := header(19, 4)
	unmarked[15] = 0xfe
	for _, c := range []struct {
		name    string
		header  []byte
		subcode uint8 // 0: accepted
		data    []byte
	}{
		{"marker", unmarked, HeaderNotSynchronized, nil},
		{"18", header(18, 4), HeaderBadLength, []byte{0, 18}},
		{"4097", header(4097, 2), HeaderBadLength, []byte{16, 1}},
		{"4096", header(4096, 2), 0, nil},
		{"type 0", header(19, 0), HeaderBadType, []byte{0}},
		{"type 6", header(19, 6), HeaderBadType, []byte{6}},
		{"OPEN of 28", header(28, 1), HeaderBadLength, []byte{0, 28}},
		{"OPEN of 29", header(29, 1), 0, nil},
		{"UPDATE of 22", header(22, 2), HeaderBadLength, []byte{0, 22}},
		{"UPDATE of 23", header(23, 2), 0, nil},
		{"NOTIFICATION of 20", header(20, 3), HeaderBadLength, []byte{0, 20}},
		{"NOTIFICATION of 21", header(21, 3), 0, nil},
		{"KEEPALIVE of 20", header(20, 4), HeaderBadLength, []byte{0, 20}},
		{"KEEPALIVE of 19", header(19, 4), 0, nil},
		{"ROUTE-REFRESH of 22", header(22, 5), HeaderBadLength, []byte{0, 22}},
		{"ROUTE-REFRESH of 23", header(23, 5), 0, nil},
		{"not all of it", header(19, 4)[:18], HeaderBadLength, nil},
	} {
		n, typ, err := Length(c.header)
		if c.subcode == 0 {
			if err != nil || n != int(c.header[16])<<8|int(c.header[17]) || typ != Type(c.header[18]) {
				t.Errorf("%s: %d, %v, %v", c.name, n, typ, err)
			}
			continue
		}
		var e *NotificationError
		if !errors.As(err, &e) || e.Code != CodeMessageHeader || e.Subcode != c.subcode || !bytes.Equal(e.Data, c.data) {
			t.Errorf("%s: %v with data %x, want subcode %d with %x", c.name, err, e.Data, c.subcode, c.data)
		}
	}
}

func TestRouteRefresh(t *testing.T) {
	for _, c := range []struct {
		body []byte
		want Family
	}{
		{[]byte{0, 1, 0, 1}, IPv4Unicast},
		{[]byte{0, 2, 0, 1}, IPv6Unicast},
		{[]byte{0, 2, 1, 1}, 0},  // BoRR of RFC 7313
		{[]byte{0, 1, 0, 2}, 0},  // multicast
		{[]byte{0, 25, 0, 1}, 0}, // L2VPN
	} {
		if f, err := ParseRouteRefresh(c.body); f != c.want || err != nil {
			t.Errorf("%x: %v, %v", c.body, f, err)
		}
	}
	if _, err := ParseRouteRefresh([]byte{0, 1, 0}); err == nil {
		t.Error("three octets were accepted")
	}
}

func TestErrorTexts(t *testing.T) {
	for _, c := range []struct {
		e    NotificationError
		want string
	}{
		{NotificationError{Code: 1, Subcode: 1}, "Message Header Error: Connection Not Synchronized"},
		{NotificationError{Code: 2, Subcode: 2}, "OPEN Message Error: Bad Peer AS"},
		{NotificationError{Code: 2}, "OPEN Message Error"},
		{NotificationError{Code: 3, Subcode: 11}, "UPDATE Message Error: Malformed AS_PATH"},
		{NotificationError{Code: 4}, "Hold Timer Expired"},
		{NotificationError{Code: 5, Subcode: 3}, "Finite State Machine Error: Receive Unexpected Message in Established State"},
		{NotificationError{Code: 6, Subcode: 7}, "Cease: Connection Collision Resolution"},
		{NotificationError{Code: 6, Subcode: 99}, "Cease: subcode 99"},
		{NotificationError{Code: 8}, "Send Hold Timer Expired"},
		{NotificationError{Code: 77, Subcode: 1}, "code 77: subcode 1"},
		{NotificationError{}, "code 0"},
		{NotificationError{Code: 6, Subcode: 2, Data: ShutdownData("works until \x1b[2Jnoon")},
			`Cease: Administrative Shutdown ("works until ` + "\uFFFD" + `[2Jnoon")`},
		{NotificationError{Code: 6, Subcode: 2, Data: []byte{5, 'x'}}, "Cease: Administrative Shutdown"},
		{NotificationError{Code: 6, Subcode: 9, Data: append([]byte{6, 4}, ShutdownData("new kernel")...)},
			`Cease: Hard Reset (Cease: Administrative Reset ("new kernel"))`},
		{NotificationError{Code: 6, Subcode: 9, Data: bytes.Repeat([]byte{6, 9}, 2000)}, "Cease: Hard Reset (Cease: Hard Reset)"},
	} {
		if got := c.e.Error(); got != c.want {
			t.Errorf("%d/%d: %q, want %q", c.e.Code, c.e.Subcode, got, c.want)
		}
	}
}

func TestShutdownCommunication(t *testing.T) {
	long := strings.Repeat("ä", 200)
	for _, c := range []struct{ in, want string }{
		{"back at noon", "back at noon"},
		{"two\nlines\tand a tab", "two lines and a tab"},
		{"bad \xff octet, right to left \u202e", "bad \uFFFD octet, right to left \uFFFD"},
		{long, long[:254]}, // 255 would end within a character
		{strings.Repeat("x", 256), strings.Repeat("x", 255)},
	} {
		e := NotificationError{Code: CodeCease, Subcode: CeaseAdminShutdown, Data: ShutdownData(c.in)}
		got, ok := e.Shutdown()
		if !ok || got != c.want || !utf8.Valid(e.Data[1:]) || int(e.Data[0]) != len(e.Data)-1 {
			t.Errorf("%q arrives as %q, %v; want %q", c.in, got, ok, c.want)
		}
	}
	if ShutdownData("") != nil {
		t.Error("no text has data")
	}
	for _, e := range []NotificationError{
		{Code: 6, Subcode: 2}, {Code: 6, Subcode: 2, Data: []byte{2, 'x'}}, {Code: 6, Subcode: 3, Data: []byte{1, 'x'}}, {Code: 4, Subcode: 2, Data: []byte{1, 'x'}},
	} {
		if text, ok := e.Shutdown(); ok {
			t.Errorf("%+v says %q", e, text)
		}
	}
}

func TestNotification(t *testing.T) {
	if _, err := ParseNotification([]byte{6}); err == nil {
		t.Error("one octet was accepted")
	}
	got, err := ParseNotification(body(t, AppendNotification(nil, 6, 4, bytes.Repeat([]byte{7}, 5000)), TypeNotification))
	if err != nil || got.Code != 6 || got.Subcode != 4 || len(got.Data) != MaxLength-21 {
		t.Errorf("%v, %v", got, err)
	}
}
