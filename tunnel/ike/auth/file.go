package auth

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// Bounds of files in bytes.
const (
	maxSecretFile = 4 << 10
	maxKeyFile    = 64 << 10
	maxCertFile   = 4 << 20
	maxCRLFile    = 64 << 20
)

// readFile reads a regular file. The error names it.
func readFile(name string, most int64) ([]byte, error) {
	refuse := func(format string, args ...any) ([]byte, error) {
		return nil, &os.PathError{Op: "read", Path: name, Err: fmt.Errorf(format, args...)}
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return refuse("not a regular file")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(data)) > most:
		return refuse("longer than %d bytes", most)
	case len(bytes.TrimSpace(data)) == 0:
		return refuse("empty")
	}
	return data, nil
}

// inFile puts a file's name before an error.
func inFile(name string, err error) error { return fmt.Errorf("%s: %w", name, err) }

var pemBegin = []byte("-----BEGIN ")

// pemBlocks takes PEM apart: nil if the data are no PEM at all, and so presumably DER.
func pemBlocks(data []byte) ([]*pem.Block, error) {
	if !bytes.Contains(data, pemBegin) {
		return nil, nil
	}
	var blocks []*pem.Block
	for {
		at, before := bytes.Index(data, pemBegin), len(data)
		if at < 0 {
			return blocks, nil
		}
		block, rest := pem.Decode(data[at:])
		// The decoder skips blocks that are damaged, which would make a bundle smaller than it looks.
		if block == nil || bytes.Count(data[:before-len(rest)], pemBegin) != 1 {
			return nil, fmt.Errorf("PEM block %d is damaged", len(blocks)+1)
		}
		blocks, data = append(blocks, block), rest
	}
}

// holdings says what is in a file that should hold something else.
func holdings(blocks []*pem.Block) string {
	var types []string
	for _, b := range blocks {
		types = append(types, fmt.Sprintf("%q", b.Type))
	}
	return "only " + strings.Join(types, ", ")
}

// ofType parses the blocks of a type, or the whole of what is no PEM.
func ofType[T any](data []byte, what string, types []string, parse func(der []byte) (T, error)) ([]T, error) {
	blocks, err := pemBlocks(data)
	if err != nil {
		return nil, err
	}
	if blocks == nil {
		v, err := parse(data)
		if err != nil {
			return nil, fmt.Errorf("neither PEM nor %s in DER: %w", what, err)
		}
		return []T{v}, nil
	}
	var all []T
	for i, b := range blocks {
		if !slices.Contains(types, b.Type) {
			continue
		}
		v, err := parse(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: no %s: %w", i+1, what, err)
		}
		all = append(all, v)
	}
	if len(all) == 0 {
		return nil, errors.New("no " + what + ", " + holdings(blocks))
	}
	return all, nil
}
