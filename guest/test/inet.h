/* inet.h: what the tests of the network's sockets share. */
#ifndef INET_H
#define INET_H

#include "test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>

struct sockaddr_in local(int port);              /* on 127.0.0.1 */
int tcp_socket(int flags);
int listener(int backlog, struct sockaddr_in *at); /* on any free port */
int connected_to(const struct sockaddr_in *at);
void tcp_pair(int s[2]);                         /* s[0] has connected, s[1] was accepted */
int udp_socket(struct sockaddr_in *at);          /* bound to any free port; at may be NULL */
int state_of(int fd);                            /* POLL* for all that can be asked for */
void await_state(int fd, int events);            /* waits for any of them */
void get_all(int fd, void *buf, size_t n);
void put_all(int fd, const void *buf, size_t n);
int int_option(int fd, int level, int name);
void set_option(int fd, int level, int name, int value);

#endif
