package fibtest

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
)

const file = "shared/data/prefixes.txt.gz"

// Internet returns the table, and says where it comes from. The slice is shared
// by all who call: do not change it. A file that is there and cannot be read is an error.
var Internet = sync.OnceValues(func() (Table, error) {
	path, err := find()
	if errors.Is(err, fs.ErrNotExist) {
		return Table{Generate(seed), fmt.Sprintf("made up from seed %d: there is no ../%s", seed, file)}, nil
	}
	if err != nil {
		return Table{}, err
	}
	all, err := read(path)
	if err != nil {
		return Table{}, fmt.Errorf("read %s: %w", file, err)
	}
	return Table{all, "../" + file}, nil
})

// Table is prefixes without host bits, none of them twice, and their origin in words.
type Table struct {
	Prefixes []netip.Prefix
	Origin   string
}

// find looks for the file beside the repository that the working directory is in.
func find() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			path := filepath.Join(filepath.Dir(dir), file)
			_, err = os.Stat(path)
			return path, err
		}
		if filepath.Dir(dir) == dir {
			return "", fs.ErrNotExist
		}
		dir = filepath.Dir(dir)
	}
}

func read(path string) (all []netip.Prefix, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(z)
	for lines.Scan() {
		p, err := netip.ParsePrefix(lines.Text())
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, lines.Err()
}

// Split returns the prefixes of each family.
func (t Table) Split() (v4, v6 []netip.Prefix) {
	for _, p := range t.Prefixes {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	return v4, v6
}

// Destinations returns n random addresses, each within a random one of the prefixes.
func Destinations(r *rand.Rand, within []netip.Prefix, n int) []netip.Addr {
	all := make([]netip.Addr, n)
	for i := range all {
		p := within[r.IntN(len(within))]
		all[i] = below(r, p, p.Addr().BitLen()).Addr()
	}
	return all
}

// below returns a random prefix of a length within a shorter one.
func below(r *rand.Rand, p netip.Prefix, bits int) netip.Prefix {
	b := p.Addr().AsSlice()
	for i := range b {
		free := byte(0xff)
		if n := p.Bits() - 8*i; n >= 8 {
			free = 0
		} else if n > 0 {
			free >>= n
		}
		b[i] |= byte(r.Uint32()) & free
	}
	a, _ := netip.AddrFromSlice(b)
	q, err := a.Prefix(bits)
	if err != nil {
		panic(err) // no such length in this family
	}
	return q
}
