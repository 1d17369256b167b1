package message

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/warrenvpn/warren/routing/route"
)

// isNotification fails unless err is nil or what a session can send.
func isNotification(t *testing.T, err error) bool {
	t.Helper()
	var e *NotificationError
	if err != nil && (!errors.As(err, &e) || e.Code == 0 || e.Error() == "") {
		t.Fatalf("the error is %#v", err)
	}
	return err != nil
}

func FuzzLength(f *testing.F) {
	f.Add(AppendKeepalive(nil))
	f.Add(header(4097, 2))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, typ, err := Length(b)
		if !isNotification(t, err) && (n < HeaderLength || n > MaxLength || typ < TypeOpen || typ > TypeRouteRefresh) {
			t.Errorf("%d octets of %v", n, typ)
		}
	})
}

func FuzzParseOpen(f *testing.F) {
	r := seeded(f)
	for range 10 {
		f.Add(randomOpen(r).Append(nil)[HeaderLength:])
	}
	f.Add(rawOpen(capabilities(65, 255, 0)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseOpen(b)
		// Without any family there is no capability to say so, and what a list repeats may be more than fits.
		if isNotification(t, err) || m.Families == 0 || m.Graceful != nil && len(m.Graceful.Families) > 50 {
			return
		}
		again, err := ParseOpen(m.Append(nil)[HeaderLength:])
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Errorf("%+v is read again as %+v, %v", m, again, err)
		}
	})
}

func FuzzParseNotification(f *testing.F) {
	f.Add([]byte{6, 2, 3, 'f', 'o', 'o'})
	f.Add([]byte{6, 9, 6, 9, 6, 2, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseNotification(b)
		if err != nil {
			return
		}
		if text := e.Error(); bytes.ContainsFunc([]byte(text), func(r rune) bool { return r < ' ' }) {
			t.Errorf("the text %q is not for terminals", text)
		}
		if len(b) <= maxBody && !bytes.Equal(AppendNotification(nil, e.Code, e.Subcode, e.Data)[HeaderLength:], b) {
			t.Errorf("%x is written otherwise", b)
		}
	})
}

func FuzzParseRouteRefresh(f *testing.F) {
	f.Add([]byte{0, 2, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		family, err := ParseRouteRefresh(b)
		if !isNotification(t, err) && family != 0 && !bytes.Equal(AppendRouteRefresh(nil, family)[HeaderLength:], b[:4]) {
			t.Errorf("%x is %s, which is written otherwise", b, family)
		}
	})
}

// fuzzOptions makes options of bits.
func fuzzOptions(bits uint8) *Options {
	o := &Options{FourOctetAS: bits&1 != 0, ExtendedNextHop: bits&2 != 0, IBGP: bits&4 != 0, Families: bothFamilies}
	if bits&8 != 0 {
		o.Families = FamiliesOf(Family(1 + bits>>4&1))
	}
	if bits&32 != 0 {
		o.FirstAS = 65000
	}
	return o
}

func FuzzParseUpdate(f *testing.F) {
	r := seeded(f)
	for i := range 20 {
		o, family := fuzzOptions(uint8(i)), Family(1+i%2)
		msg, _ := AppendUpdate(nil, family, randomAttrs(r, family, o), randomPrefixes(r, family, 5), o)
		if msg != nil {
			f.Add(msg[HeaderLength:], uint8(i))
		}
	}
	for _, m := range malformations {
		f.Add(raw(nil, slices.Concat(mpReach(hop6, okNLRI6), okOrigin, okPath, okNextHop, m.attr), okNLRI), uint8(1))
	}
	var used Update // is used again for all that this process tries
	f.Fuzz(func(t *testing.T, b []byte, bits uint8) {
		o := fuzzOptions(bits)
		var u Update
		err := ParseUpdate(b, o, &u)
		if err2 := ParseUpdate(b, o, &used); !reflect.DeepEqual(err, err2) || u.Problem != used.Problem || len(u.Reach) != len(used.Reach) {
			t.Errorf("an Update that was used before gives %v %q, a new one %v %q", err2, used.Problem, err, u.Problem)
		}
		if isNotification(t, err) {
			return
		}
		for _, reach := range u.Reach {
			checkAgain(t, reach, o)
		}
		for _, p := range u.Withdrawn {
			if !o.Families.Has(FamilyOf(p.Addr())) || p != p.Masked() {
				t.Errorf("withdrawn %v", p)
			}
		}
		if (u.Problem == "") != (u.Treatment == Accepted) || u.Treatment == TreatAsWithdraw && len(u.Reach) > 0 {
			t.Errorf("%v with the problem %q and %d reachable", u.Treatment, u.Problem, len(u.Reach))
		}
	})
}

// checkAgain writes what was read and reads it again.
func checkAgain(t *testing.T, reach Reach, o *Options) {
	t.Helper()
	want := *reach.Attrs
	want.Unknown = slices.Clone(want.Unknown)
	for i := range want.Unknown {
		want.Unknown[i].Flags |= flagPartial
	}
	var got []netip.Prefix
	for rest := reach.Prefixes; len(rest) > 0; {
		msg, left := AppendUpdate(nil, reach.Family, reach.Attrs, rest, o)
		if msg == nil {
			return // MP_REACH_NLRI in front can be longer than what came
		}
		var u Update
		if err := ParseUpdate(body(t, msg, TypeUpdate), o, &u); err != nil || u.Treatment != Accepted || len(u.Reach) != 1 || u.Reach[0].Family != reach.Family {
			t.Fatalf("%v %q: %v; written from %+v", err, u.Problem, u.Reach, reach.Attrs)
		}
		again := *u.Reach[0].Attrs
		if !o.FourOctetAS && slices.ContainsFunc(want.ASPath, isConfed) {
			again.ASPath, want.ASPath = nil, nil // AS4_PATH has no confederations, and merging moves them
		}
		if !reflect.DeepEqual(again, want) {
			t.Fatalf("written\n%+v, read\n%+v", want, again)
		}
		got, rest = append(got, u.Reach[0].Prefixes...), left
	}
	if !slices.Equal(got, reach.Prefixes) {
		t.Fatalf("%d prefixes were written, %d read", len(reach.Prefixes), len(got))
	}
}

func isConfed(s route.Segment) bool { return s.Type >= route.ASConfedSequence }
