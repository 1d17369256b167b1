package route

import "testing"

func TestSourceNames(t *testing.T) {
	for _, name := range Sources() {
		s, ok := ParseSource(name)
		if !ok || s.String() != name {
			t.Errorf("ParseSource(%q) = %v, %v", name, s, ok)
		}
	}
	if s, ok := ParseSource(""); ok {
		t.Errorf("the empty name is the source %v", s)
	}
}

func TestASPath(t *testing.T) {
	seq := func(as ...uint32) Segment { return Segment{Type: ASSequence, ASNs: as} }
	set := func(as ...uint32) Segment { return Segment{Type: ASSet, ASNs: as} }
	confed := Segment{Type: ASConfedSequence, ASNs: []uint32{64512, 64513}}
	for _, c := range []struct {
		path     []Segment
		length   int
		neighbor uint32
	}{
		{nil, 0, 0},
		{[]Segment{seq(65002, 65003)}, 2, 65002},
		{[]Segment{seq(65002), set(1, 2, 3)}, 2, 65002},
		{[]Segment{set(1, 2, 3)}, 1, 0},
		{[]Segment{confed, seq(65002)}, 1, 65002},
		{[]Segment{confed}, 0, 0},
	} {
		a := &Attrs{ASPath: c.path}
		if a.PathLength() != c.length || a.NeighborAS() != c.neighbor {
			t.Errorf("%v: length %d from AS %d, want %d from %d", c.path, a.PathLength(), a.NeighborAS(), c.length, c.neighbor)
		}
	}
	a := &Attrs{ASPath: []Segment{seq(65002), set(7)}}
	if !a.Contains(7) || a.Contains(8) {
		t.Error("Contains does not find what is there, or finds what is not")
	}
}
