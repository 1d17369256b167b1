package ike

import (
	"errors"
	"fmt"
	"slices"
)

// What must hold when two nodes have come to rest.

// agree checks that both sides have the same IKE SA and children, this many.
func (p *pair) agree(children int) {
	p.t.Helper()
	if err := p.check(); err != nil {
		p.dump()
		p.t.Fatal(err)
	}
	if len(p.moon.sas) != children {
		p.dump()
		p.t.Fatalf("%d child SAs, want %d", len(p.moon.sas), children)
	}
}

// check says in what the two sides differ, or what leaks.
func (p *pair) check() error {
	for _, two := range [][2]*node{{p.moon, p.sun}, {p.sun, p.moon}} {
		a, b := two[0], two[1]
		for _, c := range a.sas {
			o, ok := b.sas[c.Out]
			switch {
			case !ok || o.Out != c.In:
				return fmt.Errorf("%s has child %q %x/%x, %s has not", a.name, c.Name, c.In, c.Out, b.name)
			case string(o.InKey) != string(c.OutKey) || o.Suite != c.Suite || o.ESN != c.ESN:
				return fmt.Errorf("child %x/%x: keys or suites differ", c.In, c.Out)
			case !slices.Equal(o.Local, c.Remote) || !slices.Equal(o.Remote, c.Local):
				return fmt.Errorf("child %x/%x: selectors differ", c.In, c.Out)
			}
		}
		if len(a.ikes) != len(b.ikes) {
			return fmt.Errorf("%s has %d IKE SAs, %s has %d", a.name, len(a.ikes), b.name, len(b.ikes))
		}
		for _, i := range a.ikes {
			if !slices.ContainsFunc(mapValues(b.ikes), func(o IKE) bool { return o.SPIs == i.SPIs && o.Initiator != i.Initiator }) {
				return fmt.Errorf("%s has IKE SA %x, %s has not", a.name, i.SPIs, b.name)
			}
		}
		if err := a.consistent(); err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
	}
	return nil
}

// consistent says what the machine and what its actions told disagree in, once it is at rest.
func (nd *node) consistent() error {
	e := nd.Endpoint
	switch {
	case len(nd.book.held) != 0:
		return fmt.Errorf("SPIs leak: %v", nd.book.held)
	case len(nd.book.installed) != len(nd.sas) || len(e.children) != len(nd.sas):
		return fmt.Errorf("%d SPIs, %d children, %d child SAs", len(nd.book.installed), len(e.children), len(nd.sas))
	case len(e.sas) != len(nd.ikes):
		return fmt.Errorf("%d IKE SAs in the machine, %d told", len(e.sas), len(nd.ikes))
	case e.halfOpen != 0 || len(e.inits) != 0:
		return fmt.Errorf("%d half-open, %d initiations remembered", e.halfOpen, len(e.inits))
	}
	for _, sa := range e.sas {
		if sa.state != established || sa.hs != nil || sa.swap.theirs != nil || sa.swap.old != nil || sa.swap.ours != nil {
			return fmt.Errorf("IKE SA %d is %v", sa.number, sa.state)
		}
		for _, c := range sa.children {
			if !c.live() {
				return fmt.Errorf("child %x is %v", c.is.In, c.state)
			}
		}
	}
	for name, in := range nd.out {
		if nd.sas[in].Name != name {
			return errors.New("what is sent goes to a child that is not there")
		}
	}
	return nil
}

func mapValues[K comparable, V any](m map[K]V) []V {
	var all []V
	for _, v := range m {
		all = append(all, v)
	}
	return all
}

func (p *pair) dump() {
	for _, nd := range []*node{p.moon, p.sun} {
		for _, l := range nd.logs {
			p.t.Logf("%s: ike %d: %s: %v", nd.name, l.IKE, l.Text, l.Err)
		}
		for _, sa := range nd.Endpoint.sas {
			p.t.Logf("%s: IKE SA %d %x %v, %d children", nd.name, sa.number, sa.spi, sa.state, len(sa.children))
			for _, c := range sa.children {
				p.t.Logf("%s:   child %q %x/%x %v", nd.name, c.is.Name, c.is.In, c.is.Out, c.state)
			}
		}
	}
}

// logged says whether a node logged an error with this text.
func (nd *node) logged(err error) bool {
	return slices.ContainsFunc(nd.logs, func(l Log) bool { return errors.Is(l.Err, err) })
}

// find returns the actions of a type.
func find[A Action](nd *node) []A {
	var all []A
	for _, a := range nd.all {
		if f, ok := a.(A); ok {
			all = append(all, f)
		}
	}
	return all
}
