// Package race tells tests whether the race detector watches them: it allocates, and is so slow that long tests do less. Nothing of
// the program imports it.
package race
