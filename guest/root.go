package guest

import (
	"archive/tar"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"kxsh/elf"
)

// appendRoot puts a root file system, a tar file or a folder to be made one, after everything that
// ELF speaks of. The caller checks the result: a damaged archive is refused then.
func appendRoot(image *os.File, root string) error {
	st, err := image.Stat()
	if err != nil {
		return err
	}
	at, err := elf.RootOffset(image, st.Size())
	if err != nil {
		return err
	}
	if err := image.Truncate(at); err != nil {
		return err
	}
	if _, err := image.Seek(at, io.SeekStart); err != nil {
		return err
	}
	if st, err = os.Stat(root); err != nil {
		return err
	}
	if st.IsDir() {
		return tarFolder(image, root)
	}
	f, err := os.Open(root)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(image, f)
	return err
}

// tarFolder writes what a folder holds as a tar archive, sorted by name. Everything belongs to root,
// as a pVM has no other user. Sockets and devices are left out.
func tarFolder(w io.Writer, dir string) error {
	tw := tar.NewWriter(w)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return tarEntry(tw, path, name, info)
	})
	if err != nil {
		return err
	}
	return tw.Close()
}

func tarEntry(tw *tar.Writer, path, name string, info fs.FileInfo) (err error) {
	link := ""
	switch info.Mode().Type() {
	case 0, fs.ModeDir:
	case fs.ModeSymlink:
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	default:
		return nil
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name = name
	if info.IsDir() {
		h.Name += "/"
	}
	h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "root", "root"
	if err := tw.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(tw, f)
	return err
}
