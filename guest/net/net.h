/*
 * net.h: the network, as a driver of a device sees it.
 *
 * A driver is a file beside this one. When the pVM's first socket is made, or later, it fills in a struct netif and adds it:
 *
 *     netif_add(&n, &ip, &mask, &gateway, priv, init, net_ethernet);
 *     netif_set_default(&n); netif_set_up(&n); netif_set_link_up(&n);
 *
 * where init sets hwaddr, hwaddr_len, mtu, flags, output = etharp_output, and linkoutput: that gets a frame as a chain of
 * pbufs, which it copies or counts (pbuf_ref), and may be called from any system call and any timer; it must not sleep.
 * Frames that came are given to net_input, one after the other, from where events are handled, never from linkoutput.
 * In a child of fork all devices have been removed; they are its parent's.
 */
#ifndef NET_H
#define NET_H

#include "lwip/netif.h"
#include "lwip/pbuf.h"

#include <stdbool.h>

/* Makes the stack with its loopback, once; what needs it calls it. */
void net_init(void);
/* A frame that came; takes over p. */
void net_input(struct netif *n, struct pbuf *p);
/* Waits for an event or a timer, where no thread runs: before and after the program. */
void net_wait(void);
/* To be called after every call of lwIP's: delivers what it sent over the loopback, and sees to the timer. */
void net_settle(void);
/* vif.c */
void vif_init(void);
void vif_events(void);
void vif_settle(void);
void vif_down(void);
bool vif_idle(void); /* the other end has taken all that was sent */
/* lease.c */
void lease_begin(struct netif *n); /* asks for an address */
void lease_wait(void);             /* may sleep, for as long as an address can be hoped for */
void lease_boot(void);             /* the same, before the program begins */
void lease_end(void);              /* gives it back, if the device is up */
void lease_exit(void);             /* the same, and has that sent */
/* netif_add's input. */
err_t net_ethernet(struct pbuf *p, struct netif *n);

#endif
