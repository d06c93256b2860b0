// Package guest holds the SDK that pVM images are linked with, and the C compiler driver that uses it.
//
// The SDK is a tar archive of headers, musl, libgcc and the LibOS, and a folder of shared libraries. guest/Makefile
// builds it and the binary embeds it; a kxsh that was built before the SDK works, except for cc.
package guest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// The pattern matches this file too, so that the package compiles while there is no sdk.tar.gz yet.
//
//go:embed sdk.*
var embedded embed.FS

// Apart from the rest, because pVMs use the libraries, too.
const (
	sdkName       = "sdk.tar.gz"
	librariesName = "sdk.lib"
)

// Libraries are the shared libraries that programs find without being told where, libm.so: one folder of files.
func Libraries() fs.FS {
	libraries, err := fs.Sub(embedded, librariesName)
	if err != nil {
		panic(err) // a bad name
	}
	return libraries
}

// unpackSDK unpacks the embedded SDK below a cache folder, unless it is there already, and returns
// where. The folder's name is the archive's digest and it appears at once and whole, so that any
// number of processes may do this at the same time.
func unpackSDK(cache string) (string, error) {
	archive, err := embedded.ReadFile(sdkName)
	if errors.Is(err, fs.ErrNotExist) {
		return "", errors.New("this kxsh was built without the SDK: run make")
	}
	if err != nil {
		return "", err
	}
	libraries, err := librariesByName()
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	sum.Write(archive)
	for _, name := range slices.Sorted(maps.Keys(libraries)) {
		sum.Write(libraries[name])
	}
	dir := filepath.Join(cache, fmt.Sprintf("sdk-%x", sum.Sum(nil)[:8]))
	if _, err := os.Stat(dir); err == nil {
		now := time.Now()
		os.Chtimes(dir, now, now) // for pruneSDKs; in a cache of somebody else it may fail
		return dir, nil
	}
	pruneSDKs(cache)
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("cache folder: %w: set XDG_CACHE_HOME to a folder you may write to", err)
	}
	tmp, err := os.MkdirTemp(cache, ".sdk-")
	if err != nil {
		return "", fmt.Errorf("cache folder: %w: set XDG_CACHE_HOME to a folder you may write to", err)
	}
	defer os.RemoveAll(tmp)
	if err := untar(archive, tmp); err != nil {
		return "", fmt.Errorf("unpack the SDK to %s: %w", dir, err)
	}
	for name, data := range libraries {
		if err := os.WriteFile(filepath.Join(tmp, "lib", name), data, 0o644); err != nil {
			return "", fmt.Errorf("unpack the SDK to %s: %w", dir, err)
		}
	}
	if err := os.WriteFile(filepath.Join(tmp, specsName), specs(dir), 0o644); err != nil {
		return "", fmt.Errorf("unpack the SDK to %s: %w", dir, err)
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return "", err
	}
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("unpack the SDK: %w", err)
	}
	return dir, nil
}

func librariesByName() (map[string][]byte, error) {
	found := map[string][]byte{}
	entries, err := fs.ReadDir(Libraries(), ".")
	if err != nil {
		return nil, errors.New("this kxsh was built without the SDK's libraries: run make")
	}
	for _, e := range entries {
		if found[e.Name()], err = fs.ReadFile(Libraries(), e.Name()); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// sdkUnused is how long the SDK of another kxsh is kept.
const sdkUnused = 30 * 24 * time.Hour

// pruneSDKs removes SDKs that nobody has used for sdkUnused, and half unpacked ones. What cannot be
// removed stays.
func pruneSDKs(cache string) {
	for _, pattern := range []string{"sdk-????????????????", ".sdk-*"} {
		dirs, _ := filepath.Glob(filepath.Join(cache, pattern))
		for _, dir := range dirs {
			if fi, err := os.Lstat(dir); err == nil && fi.IsDir() && time.Since(fi.ModTime()) > sdkUnused {
				os.RemoveAll(dir)
			}
		}
	}
}

const specsName = "kx.specs"

// specs replaces the library folders that gcc adds to every link, so that `-lz` never finds a
// library of the host's, which was built for another libc and with a red zone.
func specs(dir string) []byte {
	return []byte("*link_libgcc:\n-L" + filepath.Join(dir, "lib") + "\n\n")
}

// untar unpacks our own archive: regular files and folders.
func untar(archive []byte, dir string) error {
	zr, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeDir {
			err = root.MkdirAll(filepath.Clean(h.Name), 0o755)
		} else {
			err = unpackFile(root, h.Name, tr)
		}
		if err != nil {
			return err
		}
	}
}

func unpackFile(root *os.Root, name string, r io.Reader) error {
	f, err := root.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}
