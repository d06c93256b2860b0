// Package files serves folders of the host to a pVM by 9P2000.L: one server a pVM, one request at a time.
//
// Requests come from the pVM and are not trusted. A fid is a file descriptor of the host, with O_PATH until it is opened, and every request goes from
// such a descriptor to itself or to an entry of it, by a name without a slash that is neither . nor .., and without following symbolic links: what they
// mean is for the pVM to say, by names in its own file system. So no request leaves the folder, whoever renames what
// meanwhile. Only regular files and folders are opened: a FIFO would hold the server up, and a device is not a file of the folder.
//
// Files are used as the engine's user. Set-user-ID and set-group-ID bits are not given to any.
package files
