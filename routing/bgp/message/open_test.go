package message

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"
)

// rawOpen is the body of an OPEN with these optional parameters.
func rawOpen(parameters ...byte) []byte {
	return append([]byte{4, 0xfd, 0xe8, 0, 90, 10, 0, 0, 1, byte(len(parameters))}, parameters...)
}

// capabilities is one parameter.
func capabilities(caps ...byte) []byte { return append([]byte{2, byte(len(caps))}, caps...) }

func TestParseOpen(t *testing.T) {
	plain := OpenMessage{AS: 65000, HoldTime: 90, RouterID: 0x0a000001, Families: FamiliesOf(IPv4Unicast)}
	with := func(change func(m *OpenMessage)) OpenMessage {
		m := plain
		change(&m)
		return m
	}
	// RFC 9072: 255, 255, the length in two octets, parameters whose lengths have two.
	extended := append(rawOpen()[:9], 255, 255, 0, 9, 2, 0, 6, 65, 4, 0, 3, 0, 0)
	for name, c := range map[string]struct {
		body []byte
		want OpenMessage
	}{
		"no parameters":     {rawOpen(), plain},
		"empty parameter":   {rawOpen(capabilities()...), plain},
		"unknown":           {rawOpen(capabilities(70, 0, 73, 3, 1, 2, 3)...), plain},
		"only IPv6":         {rawOpen(capabilities(1, 4, 0, 2, 0, 1)...), with(func(m *OpenMessage) { m.Families = FamiliesOf(IPv6Unicast) })},
		"only others":       {rawOpen(capabilities(1, 4, 0, 25, 0, 70)...), with(func(m *OpenMessage) { m.Families = 0 })},
		"extended":          {extended, with(func(m *OpenMessage) { m.AS, m.FourOctetAS = 196608, true })},
		"extended, len 13":  {slices.Concat(extended[:9], []byte{13}, extended[10:]), with(func(m *OpenMessage) { m.AS, m.FourOctetAS = 196608, true })},
		"several":           {rawOpen(append(capabilities(2, 0), capabilities(1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1)...)...), with(func(m *OpenMessage) { m.RouteRefresh, m.Families = true, bothFamilies })},
		"IPv6 over IPv6":    {rawOpen(capabilities(5, 6, 0, 2, 0, 1, 0, 2)...), plain},
		"SAFI 257":          {rawOpen(capabilities(5, 6, 0, 1, 1, 1, 0, 2)...), plain},
		"IPv4 over IPv6":    {rawOpen(capabilities(5, 12, 0, 1, 0, 128, 0, 2, 0, 1, 0, 1, 0, 2)...), with(func(m *OpenMessage) { m.ExtendedNextHop = true })},
		"graceful, no list": {rawOpen(capabilities(64, 2, 0xc0, 120)...), with(func(m *OpenMessage) { m.Graceful = &Graceful{RestartTime: 120, Restarting: true, Notification: true} })},
		"graceful, the last": {rawOpen(capabilities(64, 2, 0, 1, 64, 10, 0x0f, 0xff, 0, 2, 1, 0x80, 0, 25, 70, 0x80)...),
			with(func(m *OpenMessage) {
				m.Graceful = &Graceful{RestartTime: 4095, Families: []GracefulFamily{{IPv6Unicast, true}}}
			})},
	} {
		if got, err := ParseOpen(c.body); err != nil || !reflect.DeepEqual(*got, c.want) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}

func TestBadOpen(t *testing.T) {
	change := func(at int, to byte) []byte {
		b := rawOpen()
		b[at] = to
		return b
	}
	for name, c := range map[string]struct {
		body          []byte
		code, subcode uint8
		data          []byte
	}{
		"short":                    {rawOpen()[:9], CodeMessageHeader, HeaderBadLength, []byte{0, 28}},
		"version 3":                {change(0, 3), CodeOpen, OpenUnsupportedVersion, []byte{0, 4}},
		"version 5":                {change(0, 5), CodeOpen, OpenUnsupportedVersion, []byte{0, 4}},
		"AS 0":                     {slices.Concat([]byte{4, 0, 0}, rawOpen()[3:]), CodeOpen, OpenBadPeerAS, nil},
		"AS 0 in four octets":      {rawOpen(capabilities(65, 4, 0, 0, 0, 0)...), CodeOpen, OpenBadPeerAS, nil},
		"hold time 1":              {change(4, 1), CodeOpen, OpenUnacceptableHoldTime, nil},
		"hold time 2":              {change(4, 2), CodeOpen, OpenUnacceptableHoldTime, nil},
		"identifier 0":             {slices.Concat(rawOpen()[:5], []byte{0, 0, 0, 0, 0}), CodeOpen, OpenBadIdentifier, nil},
		"parameters exceed":        {change(9, 1), CodeOpen, 0, nil},
		"octets behind parameters": {append(rawOpen(), 1), CodeOpen, 0, nil},
		"half a parameter":         {rawOpen(2), CodeOpen, 0, nil},
		"parameter exceeds":        {rawOpen(2, 3, 2, 0), CodeOpen, 0, nil},
		"authentication":           {rawOpen(1, 1, 0), CodeOpen, OpenUnsupportedParameter, nil},
		"half a capability":        {rawOpen(capabilities(2)...), CodeOpen, 0, nil},
		"capability exceeds":       {rawOpen(capabilities(65, 255, 0)...), CodeOpen, 0, nil},
		"AS of two octets":         {rawOpen(capabilities(65, 2, 0, 1)...), CodeOpen, 0, nil},
		"family of three":          {rawOpen(capabilities(1, 3, 0, 1, 0)...), CodeOpen, 0, nil},
		"next hop of five":         {rawOpen(capabilities(5, 5, 0, 1, 0, 1, 0)...), CodeOpen, 0, nil},
		"graceful of three":        {rawOpen(capabilities(64, 3, 0, 1, 0)...), CodeOpen, 0, nil},
		"extended exceeds":         {append(rawOpen()[:9], 255, 255, 0, 9, 2, 0, 6), CodeOpen, 0, nil},
		"extended, half":           {append(rawOpen()[:9], 255, 255, 0, 2, 2, 0), CodeOpen, 0, nil},
	} {
		_, err := ParseOpen(c.body)
		var e *NotificationError
		if !errors.As(err, &e) || e.Code != c.code || e.Subcode != c.subcode || !bytes.Equal(e.Data, c.data) {
			t.Errorf("%s: %v, want %d/%d", name, err, c.code, c.subcode)
		}
	}
}

func TestOpenWithASTrans(t *testing.T) {
	m := &OpenMessage{AS: 4200000000, HoldTime: 180, RouterID: 1, Families: bothFamilies, FourOctetAS: true}
	b := body(t, m.Append(nil), TypeOpen)
	if as := int(b[1])<<8 | int(b[2]); as != ASTrans {
		t.Errorf("My Autonomous System is %d, want AS_TRANS", as)
	}
	if got, err := ParseOpen(b); err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("%+v, %v", got, err)
	}
	// Without any capability there is no parameter at all, not an empty one.
	if b := body(t, (&OpenMessage{AS: 1, RouterID: 1}).Append(nil), TypeOpen); len(b) != openLength || b[9] != 0 {
		t.Errorf("%x", b)
	}
}

func TestFamilies(t *testing.T) {
	if s := bothFamilies.String(); s != "IPv4 unicast, IPv6 unicast" {
		t.Error(s)
	}
	if FamiliesOf(0) != 0 || bothFamilies.Has(0) || FamiliesOf(IPv6Unicast).Has(IPv4Unicast) || bothFamilies.Len() != 2 ||
		bothFamilies.Intersect(FamiliesOf(IPv6Unicast)) != FamiliesOf(IPv6Unicast) {
		t.Error("sets of families are wrong")
	}
	if FamilyOf(prefix4.Addr()) != IPv4Unicast || FamilyOf(prefix6.Addr()) != IPv6Unicast {
		t.Error("FamilyOf is wrong")
	}
}
