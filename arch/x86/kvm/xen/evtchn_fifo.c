// SPDX-License-Identifier: GPL-2.0-only
/*
 * Xen guests: the FIFO event channel ABI.
 *
 * Owns the event array, the control blocks, and the queues.  Each port has a word in
 * the array, 1024 of them in a page.  Each vCPU has 16 queues, one per priority: the
 * guest takes events from the head, which its control block names, and follows the
 * links in the words; KVM appends at the tail, which only KVM knows.  If the guest has
 * emptied a queue (the word at the tail is not LINKED any more), the next event becomes
 * its head, and a bit in the control block's ready word says so.
 *
 * The algorithm is that of Xen's common/event_fifo.c, the layout that of its
 * public/event_channel.h.  Of what the guest can write, only the flags of event words
 * are ever looked at, and no loop depends on them for its end.
 *
 * Everything there is hangs from kvm->arch.xen.fifo, which is used in kvm->srcu.  A
 * reset takes it away as a whole, waits for its users, and frees it.  So what is set
 * up for FIFO may be so before the ABI is in force, in any order.
 *
 * A raise holds the queue that the port goes to and the one it was on last (to forget
 * it there, if it is the tail), and then needs up to three pages: of the port's word,
 * of the tail's, and the control block for a new head.  As two gpc->locks could deadlock
 * with their writers, it only tries to get them.  If it does not, or one is out of reach,
 * nothing has been changed, and the event is kept to be raised by a thread that can fault
 * pages in.  Kept events are in a list, in the order of their arrival; as long as one of
 * them waits for such a thread, later ones do not overtake it.  An event of a port without
 * a page in the array, or whose memory is gone, is kept until there is one, and does not
 * hold up others.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kvm_host.h>
#include <linux/nospec.h>

#include "xen_internal.h"

#define KVM_XEN_FIFO_WORDS		(PAGE_SIZE / sizeof(event_word_t))
#define KVM_XEN_FIFO_NR_PAGES		(KVM_XEN_FIFO_NR_PORTS / KVM_XEN_FIFO_WORDS)
#define KVM_XEN_FIFO_CONTROL_SIZE	sizeof(struct evtchn_fifo_control_block)

/* How often a raise tries to get hold of something before it gives up; Xen's numbers. */
#define KVM_XEN_FIFO_LOCK_TRIES		3
#define KVM_XEN_FIFO_LINK_TRIES		4
/* How often it maps a page that is lost again at once. */
#define KVM_XEN_FIFO_PAGE_TRIES		16

/* Of struct kvm_xen_fifo_port.kept, beside the target. */
#define KVM_XEN_FIFO_IS_KEPT		BIT(31)
#define KVM_XEN_FIFO_WAITS		BIT(30)	/* only for a page to be mapped */
#define KVM_XEN_FIFO_TARGET		GENMASK(29, 0)

static_assert(EVTCHN_FIFO_NR_CHANNELS == KVM_XEN_FIFO_NR_PORTS);
static_assert(EVTCHN_FIFO_PRIORITY_MIN == 15);
static_assert(sizeof(struct evtchn_fifo_control_block) == 72);
static_assert(offsetof(struct evtchn_fifo_control_block, head) == 8);

struct kvm_xen_fifo_queue {
	spinlock_t lock;	/* protects tail, and the link of the word that it names */
	u32 tail;		/* the last port appended; 0: none, or forgotten */
};

/* What a vCPU has; exists once anything of it was set. */
struct kvm_xen_fifo_control {
	struct gfn_to_pfn_cache gpc;
	struct kvm_xen_fifo_queue queues[EVTCHN_FIFO_MAX_QUEUES];
};

/**
 * struct kvm_xen_fifo_port - a port
 * @queue: the queue it was linked to last, see kvm_xen_fifo_queue(); changed with
 *	   that queue and the new one locked
 * @kept: flags and target of its event, if that is kept; 0 if not
 * @next_kept: the next port in the list of kept ones; both under kept_lock
 */
struct kvm_xen_fifo_port {
	u32 queue;
	u32 kept;
	u32 next_kept;
};

/**
 * struct kvm_xen_fifo - the FIFO event channels of a VM
 * @deliver_lock: serializes those who raise kept events
 * @kept_lock: protects what follows
 * @first_kept: a list of @nr_kept ports, or 0
 * @last_kept: its last port
 * @nr_kept: its length
 * @nr_waiting: how many of these (and of those just being raised) only wait for a page
 * @no_queue: the last queue of ports that were never linked
 * @pages: the event array; a page that is there stays
 * @controls: by vcpu_idx; what is there stays, but its page may come and go
 * @ports: by number
 */
struct kvm_xen_fifo {
	struct mutex deliver_lock;	/* serializes those who raise kept events */
	spinlock_t kept_lock;		/* protects what follows */
	u32 first_kept;
	u32 last_kept;
	u32 nr_kept;
	u32 nr_waiting;
	struct kvm_xen_fifo_queue no_queue;
	struct gfn_to_pfn_cache *pages[KVM_XEN_FIFO_NR_PAGES];
	struct kvm_xen_fifo_control *controls[KVM_MAX_VCPUS];
	struct kvm_xen_fifo_port ports[KVM_XEN_FIFO_NR_PORTS];
};

/* A raise: where to, and what it has locked. */
struct kvm_xen_fifo_raise {
	struct kvm_xen_fifo *fifo;
	struct kvm_xen_fifo_control *control;
	u32 port;
	u32 priority;
	u32 queue_id;
	struct kvm_xen_fifo_queue *queue;
	struct kvm_xen_fifo_queue *old;
	struct gfn_to_pfn_cache *page;
	struct gfn_to_pfn_cache *tail_page;	/* may be @page */
	struct gfn_to_pfn_cache *away;		/* what was out of reach; or NULL */
	bool ready;				/* the vCPU is to be told of a new head */
};

/* Anything that is no priority stands for the default; nor is it one speculatively. */
static u32 kvm_xen_fifo_priority(u32 priority)
{
	if (priority > EVTCHN_FIFO_PRIORITY_MIN)
		priority = EVTCHN_FIFO_PRIORITY_DEFAULT;

	return priority & EVTCHN_FIFO_PRIORITY_MIN;
}

/* The FIFO event channels of @kvm, to be used in kvm->srcu; NULL if there are none. */
static struct kvm_xen_fifo *kvm_xen_fifo(struct kvm *kvm)
{
	return srcu_dereference(kvm->arch.xen.fifo, &kvm->srcu);
}

/* What belongs to @vcpu; NULL if nothing was ever set.  In its ioctls, kvm->srcu held. */
static struct kvm_xen_fifo_control *kvm_xen_fifo_control(struct kvm_vcpu *vcpu)
{
	struct kvm_xen_fifo *fifo = kvm_xen_fifo(vcpu->kvm);

	return fifo ? fifo->controls[vcpu->vcpu_idx] : NULL;
}

/* A port number below KVM_XEN_FIFO_NR_PORTS, to be used as an index. */
static u32 kvm_xen_fifo_port(u32 port)
{
	return array_index_nospec(port, KVM_XEN_FIFO_NR_PORTS);
}

/* The page of the event array with the word of @port; NULL if it is not there yet. */
static struct gfn_to_pfn_cache *kvm_xen_fifo_page(struct kvm_xen_fifo *fifo, u32 port)
{
	/* Pairs with smp_store_release() in kvm_xen_set_evtchn_array(). */
	return smp_load_acquire(&fifo->pages[port / KVM_XEN_FIFO_WORDS]);
}

static event_word_t *kvm_xen_fifo_word(struct gfn_to_pfn_cache *page, u32 port)
{
	return (event_word_t *)page->khva + port % KVM_XEN_FIFO_WORDS;
}

/* Whom an event is for, in a word. */
static u32 kvm_xen_fifo_target(struct kvm_vcpu *vcpu, u32 priority)
{
	return vcpu->vcpu_idx * EVTCHN_FIFO_MAX_QUEUES + kvm_xen_fifo_priority(priority);
}

/* The queue by its id, the target + 1; or 0 for ports that were never on one. */
static struct kvm_xen_fifo_queue *kvm_xen_fifo_queue(struct kvm_xen_fifo *fifo, u32 id)
{
	struct kvm_xen_fifo_control *control;

	if (!id)
		return &fifo->no_queue;

	control = fifo->controls[(id - 1) / EVTCHN_FIFO_MAX_QUEUES];
	return &control->queues[(id - 1) % EVTCHN_FIFO_MAX_QUEUES];
}

/* ---- kept events -------------------------------------------------------- */

/* Append an event to those that are kept, unless its port is among them already. */
static void __kvm_xen_fifo_keep(struct kvm_xen_fifo *fifo, u32 port, u32 target, bool waits)
{
	struct kvm_xen_fifo_port *p = &fifo->ports[port];
	unsigned long flags;
	u32 kept;

	spin_lock_irqsave(&fifo->kept_lock, flags);

	kept = p->kept;
	if (!kept) {
		p->next_kept = 0;
		if (fifo->first_kept)
			fifo->ports[fifo->last_kept].next_kept = port;
		else
			fifo->first_kept = port;
		fifo->last_kept = port;
		WRITE_ONCE(fifo->nr_kept, fifo->nr_kept + 1);
	}

	if (waits && !(kept & KVM_XEN_FIFO_WAITS)) {
		kept |= KVM_XEN_FIFO_WAITS;
		WRITE_ONCE(fifo->nr_waiting, fifo->nr_waiting + 1);
	}
	WRITE_ONCE(p->kept, KVM_XEN_FIFO_IS_KEPT | (kept & KVM_XEN_FIFO_WAITS) | target);

	spin_unlock_irqrestore(&fifo->kept_lock, flags);
}

/* Take the first of the kept events.  Returns its port, or 0 if there is none. */
static u32 kvm_xen_fifo_take_kept(struct kvm_xen_fifo *fifo, u32 *kept)
{
	unsigned long flags;
	u32 port;

	spin_lock_irqsave(&fifo->kept_lock, flags);
	port = fifo->first_kept;
	if (port) {
		*kept = fifo->ports[port].kept;
		WRITE_ONCE(fifo->ports[port].kept, 0);
		fifo->first_kept = fifo->ports[port].next_kept;
		WRITE_ONCE(fifo->nr_kept, fifo->nr_kept - 1);
	}
	spin_unlock_irqrestore(&fifo->kept_lock, flags);
	return port;
}

/*
 * Keep an event until the VMM sets what is missing.  If it does so at this moment, it may
 * not find the event: the caller has to look once more, and __kvm_xen_defer() if it is there.
 */
static void kvm_xen_fifo_keep_missing(struct kvm_xen_fifo *fifo, struct kvm_vcpu *vcpu,
				      u32 port, u32 priority)
{
	__kvm_xen_fifo_keep(fifo, port, kvm_xen_fifo_target(vcpu, priority), false);

	/* Keep, then look: pairs with that in kvm_xen_fifo_deliver_new(). */
	smp_mb();
}

/* The page of @needed, which may be @port itself, is not in the event array. */
static int kvm_xen_fifo_keep_for_page(struct kvm_xen_fifo *fifo, struct kvm_vcpu *vcpu,
				      u32 port, u32 priority, u32 needed)
{
	kvm_xen_fifo_keep_missing(fifo, vcpu, port, priority);
	if (kvm_xen_fifo_page(fifo, needed))
		__kvm_xen_defer(vcpu, KVM_XEN_DEFERRED_PORTS);
	return KVM_XEN_EVTCHN_KEPT;
}

/* What was kept already waits for the vCPU's control block, too. */
static void kvm_xen_fifo_keep_for_control(struct kvm_xen_fifo *fifo, struct kvm_vcpu *vcpu,
					  u32 port, u32 priority)
{
	struct kvm_xen_fifo_control *control;

	kvm_xen_fifo_keep_missing(fifo, vcpu, port, priority);
	control = READ_ONCE(fifo->controls[vcpu->vcpu_idx]);
	if (control && READ_ONCE(control->gpc.active))
		__kvm_xen_defer(vcpu, KVM_XEN_DEFERRED_PORTS);
}

/*
 * What was taken from the list could not be raised: it is the first again, unless it has
 * been kept once more since, with perhaps another target.
 */
static void kvm_xen_fifo_put_back(struct kvm_xen_fifo *fifo, u32 port, u32 kept)
{
	struct kvm_xen_fifo_port *p = &fifo->ports[port];
	unsigned long flags;

	spin_lock_irqsave(&fifo->kept_lock, flags);

	/* Each that waits is counted once; meanwhile it may have been kept again. */
	if (kept & p->kept & KVM_XEN_FIFO_WAITS)
		WRITE_ONCE(fifo->nr_waiting, fifo->nr_waiting - 1);
	else if (!((kept | p->kept) & KVM_XEN_FIFO_WAITS))
		WRITE_ONCE(fifo->nr_waiting, fifo->nr_waiting + 1);

	if (!p->kept) {
		p->next_kept = fifo->first_kept;
		if (!fifo->first_kept)
			fifo->last_kept = port;
		fifo->first_kept = port;
		WRITE_ONCE(fifo->nr_kept, fifo->nr_kept + 1);
	}
	WRITE_ONCE(p->kept, (p->kept ?: kept) | KVM_XEN_FIFO_WAITS);

	spin_unlock_irqrestore(&fifo->kept_lock, flags);
}

static void kvm_xen_fifo_defer(struct kvm_vcpu *vcpu, u32 port, u32 priority)
{
	struct kvm_xen_fifo *fifo = kvm_xen_fifo(vcpu->kvm);

	/* A reset came in between, and takes events with it. */
	if (!fifo)
		return;

	__kvm_xen_fifo_keep(fifo, port, kvm_xen_fifo_target(vcpu, priority), true);
	__kvm_xen_defer(vcpu, KVM_XEN_DEFERRED_PORTS);
}

/* ---- raising an event --------------------------------------------------- */

/*
 * Write the link from the word at the tail to @port.  Returns false if that word is not
 * on the queue any more, so that the queue is empty.
 *
 * Other flags of the word may change at any time, but while BUSY is set, each of them
 * only once.  A guest that does more loses the event, and with it those behind.
 */
static __always_inline bool kvm_xen_fifo_set_link(event_word_t *tail, u32 port)
{
	const event_word_t mask = EVTCHN_FIFO_LINK_MASK | BIT(EVTCHN_FIFO_BUSY);
	event_word_t word = READ_ONCE(*tail);
	unsigned int i;

	if (!(word & BIT(EVTCHN_FIFO_LINKED)))
		return false;
	if (try_cmpxchg(tail, &word, (word & ~mask) | port))
		return true;

	kvm_xen_test_and_set_bit(EVTCHN_FIFO_BUSY, tail);
	word = READ_ONCE(*tail);

	for (i = 0; i < KVM_XEN_FIFO_LINK_TRIES; i++) {
		if (!(word & BIT(EVTCHN_FIFO_LINKED))) {
			kvm_xen_test_and_clear_bit(EVTCHN_FIFO_BUSY, tail);
			return false;
		}
		/* Clears BUSY, too. */
		if (try_cmpxchg(tail, &word, (word & ~mask) | port))
			return true;
	}

	kvm_xen_test_and_clear_bit(EVTCHN_FIFO_BUSY, tail);
	return true;
}

/* It is where and as long as it always was: what is left to be checked by kvm_gpc_check(). */
static __always_inline bool kvm_xen_fifo_page_mapped(struct gfn_to_pfn_cache *gpc)
{
	return READ_ONCE(gpc->valid) &&
	       READ_ONCE(gpc->generation) == kvm_memslots(gpc->kvm)->generation;
}

/*
 * Get hold of a page, unless somebody changes it just now.
 *
 * Sparse is not told: it would want all functions to lock pages always or never.
 */
static __always_inline bool kvm_xen_fifo_trylock_page(struct gfn_to_pfn_cache *gpc)
{
	if (!read_trylock(&gpc->lock))
		return false;

	if (likely(kvm_xen_fifo_page_mapped(gpc))) {
		__release(&gpc->lock);
		return true;
	}
	read_unlock(&gpc->lock);
	return false;
}

static __always_inline void kvm_xen_fifo_unlock_page(struct gfn_to_pfn_cache *gpc)
{
	__acquire(&gpc->lock);
	read_unlock(&gpc->lock);
}

/*
 * Make the port the head of its queue, which is empty.  The head is written before its
 * ready bit is set; the locked instruction pairs with the guest's exchange of the word.
 */
static __always_inline bool kvm_xen_fifo_set_head(struct kvm_xen_fifo_raise *op)
{
	struct evtchn_fifo_control_block *control;

	if (!kvm_xen_fifo_trylock_page(&op->control->gpc))
		return false;

	control = op->control->gpc.khva;
	WRITE_ONCE(control->head[op->priority], op->port);
	op->ready = !kvm_xen_test_and_set_bit(op->priority, &control->ready);
	kvm_xen_fifo_unlock_page(&op->control->gpc);
	return true;
}

/*
 * Latch the event and append it to its queue.  The queues and the words are locked.
 *
 * PENDING is set inside the locks, and LINKED before a poller can be woken, so that who
 * sees the one may rely on the other.
 */
static __always_inline int kvm_xen_fifo_link(struct kvm_xen_fifo_raise *op)
{
	event_word_t *word = kvm_xen_fifo_word(op->page, op->port);
	struct kvm_xen_fifo_queue *queue = op->queue;
	bool fresh = !kvm_xen_test_and_set_bit(EVTCHN_FIFO_PENDING, word);

	if (kvm_xen_test_bit(EVTCHN_FIFO_MASKED, word))
		return fresh ? KVM_XEN_EVTCHN_MASKED : KVM_XEN_EVTCHN_MERGED;

	/* Also if it was pending: the guest may have taken it off before it handled it. */
	if (kvm_xen_test_and_set_bit(EVTCHN_FIFO_LINKED, word))
		return fresh ? KVM_XEN_EVTCHN_DELIVERED : KVM_XEN_EVTCHN_MERGED;

	/* It was the last of its old queue, which is empty then.  Never link to it there. */
	if (op->old->tail == op->port)
		WRITE_ONCE(op->old->tail, 0);

	if ((!queue->tail ||
	     !kvm_xen_fifo_set_link(kvm_xen_fifo_word(op->tail_page, queue->tail), op->port)) &&
	    unlikely(!kvm_xen_fifo_set_head(op))) {
		/* It was in reach a moment ago.  As if nothing had been done. */
		kvm_xen_test_and_clear_bit(EVTCHN_FIFO_LINKED, word);
		if (fresh)
			kvm_xen_test_and_clear_bit(EVTCHN_FIFO_PENDING, word);
		op->away = &op->control->gpc;
		return KVM_XEN_EVTCHN_UNREACHABLE;
	}

	if (op->old != queue)
		WRITE_ONCE(op->fifo->ports[op->port].queue, op->queue_id);
	WRITE_ONCE(queue->tail, op->port);

	return fresh ? KVM_XEN_EVTCHN_DELIVERED : KVM_XEN_EVTCHN_MERGED;
}

/* With the queues locked, lock the words, and see that the control block is there. */
static __always_inline int kvm_xen_fifo_lock_and_link(struct kvm_xen_fifo_raise *op)
{
	u32 tail = op->queue->tail;
	bool apart = false;
	int r;

	if (unlikely(!READ_ONCE(op->control->gpc.valid))) {
		op->away = &op->control->gpc;
		return READ_ONCE(op->away->active) ? KVM_XEN_EVTCHN_UNREACHABLE :
						     KVM_XEN_EVTCHN_DROPPED;
	}

	op->away = op->page;
	op->tail_page = op->page;
	if (tail && tail / KVM_XEN_FIFO_WORDS != op->port / KVM_XEN_FIFO_WORDS) {
		op->tail_page = kvm_xen_fifo_page(op->fifo, tail);
		apart = true;
		/* Restored, and its page is still to come. */
		if (!op->tail_page)
			return KVM_XEN_EVTCHN_KEPT;
	}

	if (unlikely(!kvm_xen_fifo_trylock_page(op->page)))
		return KVM_XEN_EVTCHN_UNREACHABLE;

	if (apart && !kvm_xen_fifo_trylock_page(op->tail_page)) {
		op->away = op->tail_page;
		r = KVM_XEN_EVTCHN_UNREACHABLE;
	} else {
		r = kvm_xen_fifo_link(op);
		if (apart)
			kvm_xen_fifo_unlock_page(op->tail_page);
	}

	kvm_xen_fifo_unlock_page(op->page);
	return r;
}

/*
 * Append the event to the queue that its port was on last.  If that is another one,
 * nothing is done, and @op->away is NULL.
 */
static __always_inline int kvm_xen_fifo_append(struct kvm_xen_fifo_raise *op)
{
	int r = KVM_XEN_EVTCHN_UNREACHABLE;
	unsigned long flags;

	op->old = op->queue;
	op->away = NULL;

	spin_lock_irqsave(&op->queue->lock, flags);
	if (likely(READ_ONCE(op->fifo->ports[op->port].queue) == op->queue_id))
		r = kvm_xen_fifo_lock_and_link(op);
	spin_unlock_irqrestore(&op->queue->lock, flags);

	return r;
}

/*
 * Append the event to another queue than the last one: lock that, too, in the order of
 * addresses.  If the port is moved meanwhile, likewise.
 */
static int kvm_xen_fifo_move(struct kvm_xen_fifo_raise *op)
{
	u32 *last = &op->fifo->ports[op->port].queue, id = READ_ONCE(*last);
	struct kvm_xen_fifo_queue *first, *second;
	int r = KVM_XEN_EVTCHN_UNREACHABLE;
	unsigned long flags;

	op->old = kvm_xen_fifo_queue(op->fifo, id);
	if (op->old == op->queue)
		return r;

	first = min(op->queue, op->old);
	second = max(op->queue, op->old);

	spin_lock_irqsave(&first->lock, flags);
	spin_lock_nested(&second->lock, SINGLE_DEPTH_NESTING);
	if (READ_ONCE(*last) == id)
		r = kvm_xen_fifo_lock_and_link(op);
	spin_unlock(&second->lock);
	spin_unlock_irqrestore(&first->lock, flags);

	return r;
}

/* Find what a raise needs.  Returns 0, or the outcome if it ends here. */
static __always_inline int kvm_xen_fifo_prepare(struct kvm_xen_fifo_raise *op,
						struct kvm_xen_fifo *fifo, struct kvm_vcpu *vcpu,
						u32 port, u32 priority)
{
	op->fifo = fifo;
	op->port = kvm_xen_fifo_port(port);
	op->priority = kvm_xen_fifo_priority(priority);
	op->queue_id = 1 + kvm_xen_fifo_target(vcpu, op->priority);
	op->ready = false;

	op->page = kvm_xen_fifo_page(fifo, op->port);
	if (unlikely(!op->page))
		return kvm_xen_fifo_keep_for_page(fifo, vcpu, op->port, priority, op->port);

	/* Pairs with smp_store_release() in kvm_xen_fifo_make_control(). */
	op->control = smp_load_acquire(&fifo->controls[vcpu->vcpu_idx]);
	if (unlikely(!op->control))
		return KVM_XEN_EVTCHN_DROPPED;

	op->queue = &op->control->queues[op->priority];
	return 0;
}

static bool kvm_xen_fifo_defer_upcall(struct kvm_vcpu *vcpu)
{
	set_bit(0, vcpu->arch.xen.deferred_sel);
	kvm_xen_defer(vcpu, KVM_XEN_DEFERRED_SEL);
	return false;
}

/* Any bit means an upcall. */
static void kvm_xen_fifo_drop_upcall(struct kvm_vcpu *vcpu)
{
	unsigned int sel;

	for_each_set_bit(sel, vcpu->arch.xen.deferred_sel, 64)
		clear_bit(sel, vcpu->arch.xen.deferred_sel);
}

/* FIFO has no selectors: a vCPU that is told looks at its control block. */
static bool kvm_xen_fifo_set_selector(struct kvm_vcpu *vcpu, const struct kvm_xen_abi *abi,
				      u32 port, bool can_sleep)
{
	struct gfn_to_pfn_cache *gpc = &vcpu->arch.xen.vcpu_info_cache;
	unsigned long flags;
	bool notify;

	if (!kvm_xen_page_lock(gpc, KVM_XEN_VCPU_INFO_SIZE, &flags, can_sleep))
		return kvm_xen_fifo_defer_upcall(vcpu);

	/* Bit 0 of the first word is bit 0 of evtchn_upcall_pending. */
	notify = !kvm_xen_test_and_set_bit(0, gpc->khva);
	kvm_xen_page_unlock(gpc, flags);
	return notify;
}

/*
 * A page was out of reach: map it, unless somebody else just had it.  If there is no memory,
 * keep the event, for the vCPU to try again at each turn of its run loop.
 */
static bool kvm_xen_fifo_fault_in(struct kvm_xen_fifo_raise *op, struct kvm_vcpu *vcpu)
{
	unsigned long len = op->away == &op->control->gpc ? KVM_XEN_FIFO_CONTROL_SIZE : PAGE_SIZE;

	might_sleep();

	if (kvm_xen_fifo_page_mapped(op->away) || kvm_xen_page_refresh(op->away, len)) {
		cpu_relax();
		return true;
	}

	__kvm_xen_fifo_keep(op->fifo, op->port, op->queue_id - 1, false);
	set_bit(KVM_XEN_DEFERRED_PORTS, &vcpu->arch.xen.deferred);
	return false;
}

/*
 * Raise an event in all cases: its port moves, or a page is out of reach.  If that is to
 * be mapped and cannot be, the event is kept; if it is lost again and again, the outcome
 * is KVM_XEN_EVTCHN_UNREACHABLE even so.  If the guest moves the port about all the time,
 * the event is lost, as in Xen.
 */
static noinline int kvm_xen_fifo_raise_slowly(struct kvm_xen_fifo *fifo, struct kvm_vcpu *vcpu,
					      u32 port, u32 priority, bool can_sleep, bool *ready)
{
	int lock_tries = KVM_XEN_FIFO_LOCK_TRIES, page_tries = KVM_XEN_FIFO_PAGE_TRIES;
	struct kvm_xen_fifo_raise op;
	int r;

	*ready = false;
	r = kvm_xen_fifo_prepare(&op, fifo, vcpu, port, priority);
	if (r)
		return r;

	for (;;) {
		r = kvm_xen_fifo_append(&op);
		if (r == KVM_XEN_EVTCHN_UNREACHABLE && !op.away)
			r = kvm_xen_fifo_move(&op);
		if (r != KVM_XEN_EVTCHN_UNREACHABLE)
			break;

		if (!op.away) {
			if (!--lock_tries)
				return KVM_XEN_EVTCHN_DROPPED;
			continue;
		}

		if (!can_sleep || !page_tries--)
			return r;
		if (!kvm_xen_fifo_fault_in(&op, vcpu))
			return KVM_XEN_EVTCHN_KEPT;
	}

	if (r == KVM_XEN_EVTCHN_KEPT)
		return kvm_xen_fifo_keep_for_page(fifo, vcpu, op.port, priority,
						  READ_ONCE(op.queue->tail));

	*ready = op.ready;
	return r;
}

static bool kvm_xen_fifo_try_deliver_kept(struct kvm *kvm);

static int kvm_xen_fifo_raise(struct kvm_vcpu *vcpu, const struct kvm_xen_abi *abi, u32 port,
			      u32 priority, bool can_sleep)
{
	struct kvm_xen_fifo *fifo = kvm_xen_fifo(vcpu->kvm);
	struct kvm_xen_fifo_raise op = {};
	bool ready;
	int r;

	/* A reset came in between, and takes events with it. */
	if (unlikely(!fifo))
		return KVM_XEN_EVTCHN_DROPPED;

	/* Keep the order.  Do not wait while somebody else delivers those that came first. */
	if (unlikely(READ_ONCE(fifo->nr_waiting))) {
		if (!can_sleep)
			return KVM_XEN_EVTCHN_UNREACHABLE;
		if (!kvm_xen_fifo_try_deliver_kept(vcpu->kvm)) {
			kvm_xen_fifo_defer(vcpu, kvm_xen_fifo_port(port), priority);
			return KVM_XEN_EVTCHN_KEPT;
		}
	}

	/* Mostly it is as simple as that. */
	r = kvm_xen_fifo_prepare(&op, fifo, vcpu, port, priority);
	if (unlikely(r))
		return r;

	r = kvm_xen_fifo_append(&op);
	ready = op.ready;
	if (unlikely(r == KVM_XEN_EVTCHN_UNREACHABLE || r == KVM_XEN_EVTCHN_KEPT))
		r = kvm_xen_fifo_raise_slowly(fifo, vcpu, port, priority, can_sleep, &ready);
	if (unlikely(r == KVM_XEN_EVTCHN_UNREACHABLE) && can_sleep) {
		kvm_xen_fifo_defer(vcpu, op.port, priority);
		return KVM_XEN_EVTCHN_KEPT;
	}

	if (ready && kvm_xen_fifo_set_selector(vcpu, abi, port, can_sleep))
		kvm_xen_notify(vcpu);

	return r;
}

/*
 * Unlike the 2-level ABI, this raises a pending port whether it was masked or not.  If
 * that is to be tried again, so may be all of it.
 */
static int kvm_xen_fifo_unmask(struct kvm_vcpu *vcpu, const struct kvm_xen_abi *abi, u32 port,
			       u32 priority, bool can_sleep)
{
	struct kvm_xen_fifo *fifo = kvm_xen_fifo(vcpu->kvm);
	struct gfn_to_pfn_cache *page = NULL;
	unsigned long flags;
	event_word_t *word;
	bool pending;
	int r;

	port = kvm_xen_fifo_port(port);
	if (fifo)
		page = kvm_xen_fifo_page(fifo, port);
	/* Nothing to be unmasked: that is no error. */
	if (!page)
		return KVM_XEN_EVTCHN_MERGED;

	if (!kvm_xen_page_lock(page, PAGE_SIZE, &flags, can_sleep))
		return KVM_XEN_EVTCHN_UNREACHABLE;

	word = kvm_xen_fifo_word(page, port);
	kvm_xen_test_and_clear_bit(EVTCHN_FIFO_MASKED, word);
	pending = kvm_xen_test_bit(EVTCHN_FIFO_PENDING, word);
	kvm_xen_page_unlock(page, flags);

	if (!pending)
		return KVM_XEN_EVTCHN_MERGED;

	/* If somebody else has cleared PENDING meanwhile, this is an event like any other. */
	r = kvm_xen_fifo_raise(vcpu, abi, port, priority, can_sleep);
	if (r != KVM_XEN_EVTCHN_UNREACHABLE && r != KVM_XEN_EVTCHN_MERGED)
		kvm_xen_event_raised(vcpu, port, r);
	return r;
}

static int kvm_xen_fifo_test_pending(struct kvm *kvm, const struct kvm_xen_abi *abi, u32 port)
{
	struct kvm_xen_fifo *fifo = kvm_xen_fifo(kvm);
	struct gfn_to_pfn_cache *page;
	unsigned long flags;
	int r;

	port = kvm_xen_fifo_port(port);
	page = fifo ? kvm_xen_fifo_page(fifo, port) : NULL;
	if (!page)
		return 0;

	if (!kvm_xen_page_lock(page, PAGE_SIZE, &flags, true))
		return -EFAULT;

	r = kvm_xen_test_bit(EVTCHN_FIFO_PENDING, kvm_xen_fifo_word(page, port));
	kvm_xen_page_unlock(page, flags);
	return r;
}

#define KVM_XEN_FIFO_OPS				\
	.nr_ports	= KVM_XEN_FIFO_NR_PORTS,	\
	.raise		= kvm_xen_fifo_raise,		\
	.unmask		= kvm_xen_fifo_unmask,		\
	.defer		= kvm_xen_fifo_defer,		\
	.set_selector	= kvm_xen_fifo_set_selector,	\
	.test_pending	= kvm_xen_fifo_test_pending

const struct kvm_xen_abi kvm_xen_abi_fifo[2] = {
	{
		KVM_XEN_LAYOUT_32,
		KVM_XEN_FIFO_OPS,
	}, {
		KVM_XEN_LAYOUT_64,
		KVM_XEN_FIFO_OPS,
	},
};

/* ---- what others do with kept events ------------------------------------ */

/*
 * Raise a kept event, for whom the VMM says by now that it is bound to.  False if it had
 * to be put back.
 */
static bool kvm_xen_fifo_deliver(struct kvm *kvm, struct kvm_xen_fifo *fifo, u32 port, u32 kept)
{
	u32 target = kept & KVM_XEN_FIFO_TARGET, priority = target % EVTCHN_FIFO_MAX_QUEUES;
	const struct kvm_xen_abi *abi = kvm_xen_abi(kvm);
	struct kvm_vcpu *vcpu;
	bool ready;
	int r;

	vcpu = kvm_xen_port_vcpu(kvm, port, &priority) ?:
	       kvm_get_vcpu(kvm, target / EVTCHN_FIFO_MAX_QUEUES);
	/* It is just being created. */
	if (!vcpu) {
		__kvm_xen_fifo_keep(fifo, port, target, false);
		return true;
	}

	r = kvm_xen_fifo_raise_slowly(fifo, vcpu, port, priority, true, &ready);
	if (r == KVM_XEN_EVTCHN_UNREACHABLE) {
		kvm_xen_fifo_put_back(fifo, port, kept);
		__kvm_xen_defer(vcpu, KVM_XEN_DEFERRED_PORTS);
		return false;
	}
	if (ready && kvm_xen_fifo_set_selector(vcpu, abi, port, true))
		kvm_xen_notify(vcpu);

	if (r == KVM_XEN_EVTCHN_DROPPED)
		kvm_xen_fifo_keep_for_control(fifo, vcpu, port, priority);
	else if (r != KVM_XEN_EVTCHN_KEPT)
		kvm_xen_event_raised(vcpu, port, r);
	return true;
}

static void __kvm_xen_fifo_deliver_kept(struct kvm *kvm, struct kvm_xen_fifo *fifo)
{
	unsigned long flags;
	u32 n, port, kept;

	lockdep_assert_held(&fifo->deliver_lock);

	for (n = READ_ONCE(fifo->nr_kept); n; n--) {
		port = kvm_xen_fifo_take_kept(fifo, &kept);
		if (!port)
			break;

		if (!kvm_xen_fifo_deliver(kvm, fifo, port, kept))
			break;

		/* Later events had to wait until here. */
		if (kept & KVM_XEN_FIFO_WAITS) {
			spin_lock_irqsave(&fifo->kept_lock, flags);
			WRITE_ONCE(fifo->nr_waiting, fifo->nr_waiting - 1);
			spin_unlock_irqrestore(&fifo->kept_lock, flags);
		}
		cond_resched();
	}
}

/* False if somebody else does it just now. */
static bool kvm_xen_fifo_try_deliver_kept(struct kvm *kvm)
{
	struct kvm_xen_fifo *fifo = kvm_xen_fifo(kvm);

	if (!fifo || !mutex_trylock(&fifo->deliver_lock))
		return false;

	__kvm_xen_fifo_deliver_kept(kvm, fifo);
	mutex_unlock(&fifo->deliver_lock);
	return true;
}

/**
 * kvm_xen_fifo_deliver_kept - raise what was kept
 * @kvm: the VM
 *
 * What still cannot be raised stays kept.  Nothing happens unless FIFO is in force.
 *
 * Context: task context of the VMM, kvm->srcu held.  May sleep.
 */
void kvm_xen_fifo_deliver_kept(struct kvm *kvm)
{
	struct kvm_xen_fifo *fifo = kvm_xen_fifo(kvm);

	if (!fifo || !READ_ONCE(kvm->arch.xen.evtchn_fifo))
		return;

	mutex_lock(&fifo->deliver_lock);
	__kvm_xen_fifo_deliver_kept(kvm, fifo);
	mutex_unlock(&fifo->deliver_lock);
}

/* The same after something was set that events may have been kept for. */
static void kvm_xen_fifo_deliver_new(struct kvm *kvm)
{
	/* Set, then look for events: pairs with that in kvm_xen_fifo_keep_missing(). */
	smp_mb();
	kvm_xen_fifo_deliver_kept(kvm);
}

/**
 * kvm_xen_fifo_keeps_events - is there anything for kvm_xen_fifo_deliver_kept()?
 * @kvm: the VM
 *
 * Context: any.
 *
 * Return: whether there is.
 */
bool kvm_xen_fifo_keeps_events(struct kvm *kvm)
{
	struct kvm_xen_fifo *fifo;
	bool keeps;
	int idx;

	idx = srcu_read_lock(&kvm->srcu);
	fifo = kvm_xen_fifo(kvm);
	keeps = fifo && READ_ONCE(fifo->nr_kept);
	srcu_read_unlock(&kvm->srcu, idx);
	return keeps;
}

/**
 * kvm_xen_fifo_next_kept - list kept events
 * @vcpu: whose
 * @port: where to start
 * @priority: set to that of the event, if there is one
 *
 * Context: vCPU ioctl, kvm->srcu held.
 *
 * Return: the lowest port from @port on whose event is kept for @vcpu; 0 if none.
 */
u32 kvm_xen_fifo_next_kept(struct kvm_vcpu *vcpu, u32 port, u32 *priority)
{
	struct kvm_xen_fifo *fifo = kvm_xen_fifo(vcpu->kvm);
	u32 kept;

	if (!fifo || !READ_ONCE(fifo->nr_kept))
		return 0;

	for (; port < KVM_XEN_FIFO_NR_PORTS; port++) {
		/* It starts where userspace says. */
		kept = READ_ONCE(fifo->ports[kvm_xen_fifo_port(port)].kept);
		if (!kept)
			continue;

		kept &= KVM_XEN_FIFO_TARGET;
		if (kept / EVTCHN_FIFO_MAX_QUEUES == vcpu->vcpu_idx) {
			*priority = kept % EVTCHN_FIFO_MAX_QUEUES;
			return port;
		}
	}
	return 0;
}

/* ---- configuration ------------------------------------------------------ */

static void kvm_xen_fifo_init_queue(struct kvm_xen_fifo_queue *queue)
{
	spin_lock_init(&queue->lock);
}

/* What everything is stored in, to be allocated by whoever is the first to set any. */
static struct kvm_xen_fifo *kvm_xen_make_fifo(struct kvm *kvm)
{
	struct kvm_xen_fifo *fifo;

	fifo = rcu_dereference_protected(kvm->arch.xen.fifo,
					 lockdep_is_held(&kvm->arch.xen.lock));
	if (fifo)
		return fifo;

	fifo = kvzalloc(sizeof(*fifo), GFP_KERNEL_ACCOUNT);
	if (!fifo)
		return NULL;

	mutex_init(&fifo->deliver_lock);
	spin_lock_init(&fifo->kept_lock);
	kvm_xen_fifo_init_queue(&fifo->no_queue);
	rcu_assign_pointer(kvm->arch.xen.fifo, fifo);
	return fifo;
}

static struct kvm_xen_fifo_control *kvm_xen_fifo_make_control(struct kvm_vcpu *vcpu)
{
	struct kvm_xen_fifo *fifo = kvm_xen_make_fifo(vcpu->kvm);
	struct kvm_xen_fifo_control *control;
	unsigned int i;

	if (!fifo)
		return NULL;

	control = fifo->controls[vcpu->vcpu_idx];
	if (control)
		return control;

	control = kzalloc(sizeof(*control), GFP_KERNEL_ACCOUNT);
	if (!control)
		return NULL;

	kvm_gpc_init(&control->gpc, vcpu->kvm);
	for (i = 0; i < EVTCHN_FIFO_MAX_QUEUES; i++)
		kvm_xen_fifo_init_queue(&control->queues[i]);

	/* Complete before it can be found; pairs with smp_load_acquire() in a raise. */
	smp_store_release(&fifo->controls[vcpu->vcpu_idx], control);
	return control;
}

/* Nobody else has it any more. */
static void kvm_xen_free_fifo(struct kvm_xen_fifo *fifo)
{
	unsigned int i;

	if (!fifo)
		return;

	for (i = 0; i < KVM_XEN_FIFO_NR_PAGES; i++) {
		if (fifo->pages[i])
			kvm_gpc_deactivate(fifo->pages[i]);
		kfree(fifo->pages[i]);
	}
	for (i = 0; i < KVM_MAX_VCPUS; i++) {
		if (fifo->controls[i])
			kvm_gpc_deactivate(&fifo->controls[i]->gpc);
		kfree(fifo->controls[i]);
	}
	kvfree(fifo);
}

/**
 * kvm_xen_destroy_fifo - free everything
 * @kvm: the VM, without vCPUs
 *
 * Context: as kvm_xen_destroy_vm().
 */
void kvm_xen_destroy_fifo(struct kvm *kvm)
{
	kvm_xen_free_fifo(rcu_dereference_protected(kvm->arch.xen.fifo, true));
}

static bool kvm_xen_fifo_control_in_use(const struct kvm_xen_fifo_control *control)
{
	unsigned int i;

	for (i = 0; i < EVTCHN_FIFO_MAX_QUEUES; i++) {
		if (READ_ONCE(control->queues[i].tail))
			return true;
	}
	return control->gpc.active;
}

/**
 * kvm_xen_fifo_in_use - is anything of FIFO set?
 * @kvm: the VM
 *
 * Context: xen.lock held.
 *
 * Return: whether the VMM would lose any if the VM had no FIFO event channels any more.
 */
bool kvm_xen_fifo_in_use(struct kvm *kvm)
{
	struct kvm_xen_fifo *fifo;
	unsigned int i;

	fifo = rcu_dereference_protected(kvm->arch.xen.fifo,
					 lockdep_is_held(&kvm->arch.xen.lock));
	if (!fifo)
		return false;
	if (kvm->arch.xen.evtchn_fifo || READ_ONCE(fifo->nr_kept))
		return true;

	for (i = 0; i < KVM_MAX_VCPUS; i++) {
		if (fifo->controls[i] && kvm_xen_fifo_control_in_use(fifo->controls[i]))
			return true;
	}
	return memchr_inv(fifo->pages, 0, sizeof(fifo->pages));
}

/* Back to 2-level, without a trace of FIFO. */
static int kvm_xen_leave_fifo(struct kvm *kvm)
{
	struct kvm_xen_fifo *fifo;
	struct kvm_vcpu *vcpu;
	unsigned long i;

	mutex_lock(&kvm->arch.xen.lock);
	if (kvm->arch.xen.evtchn_fifo) {
		/* An upcall that is deferred just now may come, and find no event. */
		kvm_for_each_vcpu(i, vcpu, kvm)
			kvm_xen_fifo_drop_upcall(vcpu);
	}
	WRITE_ONCE(kvm->arch.xen.evtchn_fifo, false);
	kvm_xen_choose_abi(kvm);
	fifo = rcu_replace_pointer(kvm->arch.xen.fifo, NULL,
				   lockdep_is_held(&kvm->arch.xen.lock));
	mutex_unlock(&kvm->arch.xen.lock);

	/* Not under xen.lock: writes to the hypercall MSR take that inside kvm->srcu. */
	if (fifo)
		synchronize_srcu(&kvm->srcu);
	kvm_xen_free_fifo(fifo);
	return 0;
}

/* Keep what is pending in shared_info, to be raised when the event array has its port. */
static int kvm_xen_fifo_carry_over(struct kvm *kvm, const struct kvm_xen_abi *from)
{
	struct gfn_to_pfn_cache *gpc = &kvm->arch.xen.shinfo_cache;
	struct kvm_xen_fifo *fifo = kvm_xen_fifo(kvm);
	DECLARE_BITMAP(pending, KVM_XEN_2L_NR_PORTS);
	struct kvm_vcpu *vcpu;
	unsigned long flags;
	u32 port, priority;

	if (!gpc->active || !fifo)
		return 0;

	if (!kvm_xen_page_lock(gpc, PAGE_SIZE, &flags, true))
		return -EFAULT;
	bitmap_from_arr32(pending, gpc->khva + from->pending, from->nr_ports);
	kvm_xen_page_unlock(gpc, flags);

	port = 1;
	for_each_set_bit_from(port, pending, from->nr_ports) {
		vcpu = kvm_xen_port_vcpu(kvm, port, &priority);
		/* Without one, the first vCPU's, which perhaps is yet to be created. */
		__kvm_xen_fifo_keep(fifo, port, EVTCHN_FIFO_PRIORITY_DEFAULT +
				    (vcpu ? vcpu->vcpu_idx * EVTCHN_FIFO_MAX_QUEUES : 0), false);
	}
	return 0;
}

/* Put FIFO in force.  Returns 1 if it was so already. */
static int __kvm_xen_enter_fifo(struct kvm *kvm, bool carry)
{
	struct gfn_to_pfn_cache *shinfo = &kvm->arch.xen.shinfo_cache;
	unsigned long flags;

	lockdep_assert_held(&kvm->arch.xen.lock);

	if (kvm->arch.xen.evtchn_fifo)
		return 1;
	if (!kvm_xen_opted_in(kvm, KVM_XEN_HVM_CONFIG_EVTCHN_FIFO))
		return -EOPNOTSUPP;

	/* See that what will be needed is there. */
	if (carry && shinfo->active) {
		if (!kvm_xen_page_lock(shinfo, PAGE_SIZE, &flags, true))
			return -EFAULT;
		kvm_xen_page_unlock(shinfo, flags);
	}
	if (!kvm_xen_make_fifo(kvm))
		return -ENOMEM;

	WRITE_ONCE(kvm->arch.xen.evtchn_fifo, true);
	kvm_xen_choose_abi(kvm);
	return 0;
}

/* It was lost in the moment between: what the VMM has set up for FIFO is still there. */
static void kvm_xen_unenter_fifo(struct kvm *kvm)
{
	mutex_lock(&kvm->arch.xen.lock);
	WRITE_ONCE(kvm->arch.xen.evtchn_fifo, false);
	kvm_xen_choose_abi(kvm);
	mutex_unlock(&kvm->arch.xen.lock);
}

static int kvm_xen_enter_fifo(struct kvm *kvm, bool carry)
{
	const struct kvm_xen_abi *from;
	int idx, r;

	mutex_lock(&kvm->arch.xen.lock);
	idx = srcu_read_lock(&kvm->srcu);
	from = kvm_xen_abi(kvm);
	r = __kvm_xen_enter_fifo(kvm, carry);
	srcu_read_unlock(&kvm->srcu, idx);
	mutex_unlock(&kvm->arch.xen.lock);
	if (r)
		return min(r, 0);

	/* From here on, nobody sets a bit in shared_info. */
	synchronize_srcu(&kvm->srcu);

	idx = srcu_read_lock(&kvm->srcu);
	if (carry)
		r = kvm_xen_fifo_carry_over(kvm, from);
	if (!r)
		kvm_xen_fifo_deliver_kept(kvm);
	srcu_read_unlock(&kvm->srcu, idx);

	if (r)
		kvm_xen_unenter_fifo(kvm);
	else
		kvm_xen_retry_deferred(kvm);
	return r;
}

/**
 * kvm_xen_set_evtchn_abi - KVM_XEN_ATTR_TYPE_EVTCHN_ABI
 * @kvm: the VM
 * @data: the ABI, and whether events that are pending are taken along
 *
 * Context: VM ioctl, neither kvm->srcu nor xen.lock held.  May sleep.
 *
 * Return: 0; -EINVAL for an ABI or flags that there are not; -EOPNOTSUPP for FIFO without
 * opt-in; -ENOMEM; -EFAULT if shared_info is needed and out of reach.
 */
int kvm_xen_set_evtchn_abi(struct kvm *kvm, struct kvm_xen_hvm_attr *data)
{
	u32 flags = data->u.evtchn_abi.flags;

	switch (data->u.evtchn_abi.abi) {
	case KVM_XEN_EVTCHN_ABI_2LEVEL:
		return flags ? -EINVAL : kvm_xen_leave_fifo(kvm);
	case KVM_XEN_EVTCHN_ABI_FIFO:
		if (flags & ~KVM_XEN_EVTCHN_ABI_CARRY)
			return -EINVAL;
		return kvm_xen_enter_fifo(kvm, flags & KVM_XEN_EVTCHN_ABI_CARRY);
	default:
		return -EINVAL;
	}
}

/**
 * kvm_xen_get_evtchn_abi - KVM_XEN_ATTR_TYPE_EVTCHN_ABI, read
 * @kvm: the VM
 * @data: where to
 *
 * Context: VM ioctl, xen.lock held.
 *
 * Return: 0.
 */
int kvm_xen_get_evtchn_abi(struct kvm *kvm, struct kvm_xen_hvm_attr *data)
{
	data->u.evtchn_abi.abi = kvm->arch.xen.evtchn_fifo ? KVM_XEN_EVTCHN_ABI_FIFO :
							     KVM_XEN_EVTCHN_ABI_2LEVEL;
	data->u.evtchn_abi.flags = 0;
	return 0;
}

/**
 * kvm_xen_set_evtchn_array - KVM_XEN_ATTR_TYPE_EVTCHN_ARRAY
 * @kvm: the VM
 * @data: which page, and where
 *
 * Events that were kept for it are raised.  Once there, a page stays until the ABI is
 * left, as in Xen.
 *
 * Context: VM ioctl, xen.lock and kvm->srcu held.  May sleep.
 *
 * Return: 0, -EINVAL for an index or address that there is not, -EFAULT without
 * writable memory, -EEXIST if the page is somewhere else, -ENOMEM.
 */
int kvm_xen_set_evtchn_array(struct kvm *kvm, struct kvm_xen_hvm_attr *data)
{
	u64 gfn = data->u.evtchn_array.gfn;
	u32 index = data->u.evtchn_array.index;
	struct gfn_to_pfn_cache *page;
	struct kvm_xen_fifo *fifo;
	int r;

	if (index >= KVM_XEN_FIFO_NR_PAGES || gpa_to_gfn(gfn_to_gpa(gfn)) != gfn)
		return -EINVAL;

	fifo = kvm_xen_make_fifo(kvm);
	if (!fifo)
		return -ENOMEM;

	index = array_index_nospec(index, KVM_XEN_FIFO_NR_PAGES);
	if (fifo->pages[index])
		return fifo->pages[index]->gpa == gfn_to_gpa(gfn) ? 0 : -EEXIST;

	page = kzalloc(sizeof(*page), GFP_KERNEL_ACCOUNT);
	if (!page)
		return -ENOMEM;

	kvm_gpc_init(page, kvm);
	r = kvm_gpc_activate(page, gfn_to_gpa(gfn), PAGE_SIZE);
	if (r) {
		kvm_gpc_deactivate(page);
		kfree(page);
		return r;
	}

	/* Usable before it can be found; pairs with kvm_xen_fifo_page(). */
	smp_store_release(&fifo->pages[index], page);
	kvm_xen_fifo_deliver_new(kvm);
	return 0;
}

/**
 * kvm_xen_get_evtchn_array - KVM_XEN_ATTR_TYPE_EVTCHN_ARRAY, read
 * @kvm: the VM
 * @data: which page, and where to
 *
 * Context: VM ioctl, xen.lock held.
 *
 * Return: 0, -EINVAL for an index that there is not.
 */
int kvm_xen_get_evtchn_array(struct kvm *kvm, struct kvm_xen_hvm_attr *data)
{
	u32 index = data->u.evtchn_array.index;
	struct gfn_to_pfn_cache *page = NULL;
	struct kvm_xen_fifo *fifo;

	if (index >= KVM_XEN_FIFO_NR_PAGES)
		return -EINVAL;

	fifo = rcu_dereference_protected(kvm->arch.xen.fifo,
					 lockdep_is_held(&kvm->arch.xen.lock));
	if (fifo)
		page = fifo->pages[array_index_nospec(index, KVM_XEN_FIFO_NR_PAGES)];

	data->u.evtchn_array.gfn = page ? gpa_to_gfn(page->gpa) : KVM_XEN_INVALID_GFN;
	return 0;
}

static void kvm_xen_set_tail(struct kvm_xen_fifo_queue *queue, u32 tail)
{
	spin_lock_irq(&queue->lock);
	WRITE_ONCE(queue->tail, tail);
	spin_unlock_irq(&queue->lock);
}

static void kvm_xen_remove_control(struct kvm_vcpu *vcpu)
{
	struct kvm_xen_fifo_control *control = kvm_xen_fifo_control(vcpu);
	unsigned int i;

	if (!control)
		return;

	kvm_gpc_deactivate(&control->gpc);
	for (i = 0; i < EVTCHN_FIFO_MAX_QUEUES; i++)
		kvm_xen_set_tail(&control->queues[i], 0);
}

static int __kvm_xen_set_evtchn_control(struct kvm_vcpu *vcpu, gpa_t gpa)
{
	struct kvm_xen_fifo_control *control = kvm_xen_fifo_make_control(vcpu);

	if (!control)
		return -ENOMEM;
	if (control->gpc.active)
		return control->gpc.gpa == gpa ? 0 : -EEXIST;

	return kvm_xen_page_set_gpa(&control->gpc, gpa, KVM_XEN_FIFO_CONTROL_SIZE);
}

/**
 * kvm_xen_set_evtchn_control - KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_CONTROL
 * @vcpu: the vCPU
 * @data: address of its control block, or KVM_XEN_INVALID_GPA
 *
 * Events that were kept for it are raised.
 *
 * Context: vCPU ioctl, kvm->srcu held.  May sleep.
 *
 * Return: 0, -EINVAL if the block is not aligned or crosses a page, -EFAULT without
 * writable memory, -EEXIST if the vCPU has another one, -ENOMEM.
 */
int kvm_xen_set_evtchn_control(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	gpa_t gpa = data->u.gpa;
	int r = 0;

	if (gpa != KVM_XEN_INVALID_GPA && !IS_ALIGNED(gpa, 8))
		return -EINVAL;

	mutex_lock(&vcpu->kvm->arch.xen.lock);
	if (gpa == KVM_XEN_INVALID_GPA)
		kvm_xen_remove_control(vcpu);
	else
		r = __kvm_xen_set_evtchn_control(vcpu, gpa);
	mutex_unlock(&vcpu->kvm->arch.xen.lock);

	kvm_xen_fifo_deliver_new(vcpu->kvm);
	return r;
}

/**
 * kvm_xen_get_evtchn_control - KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_CONTROL, read
 * @vcpu: the vCPU
 * @data: where to
 *
 * Context: vCPU ioctl, kvm->srcu held.
 *
 * Return: 0.
 */
int kvm_xen_get_evtchn_control(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	struct kvm_xen_fifo_control *control = kvm_xen_fifo_control(vcpu);

	data->u.gpa = control ? kvm_xen_page_get_gpa(&control->gpc) : KVM_XEN_INVALID_GPA;
	return 0;
}

/**
 * kvm_xen_set_evtchn_tails - KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_TAILS
 * @vcpu: the vCPU
 * @data: the last port of each queue
 *
 * The last queue of a port counts only as long as the port is the tail there, so that
 * is known again, too.  While events are raised, this may leave a queue of the guest's in
 * disorder, but nothing else.  Events that were kept because another tail's page was
 * missing are raised.
 *
 * Context: vCPU ioctl, kvm->srcu held.  May sleep.
 *
 * Return: 0, -EINVAL if there is no such port, -ENOMEM.
 */
int kvm_xen_set_evtchn_tails(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	struct kvm *kvm = vcpu->kvm;
	struct kvm_xen_fifo_control *control;
	struct kvm_xen_fifo *fifo;
	unsigned int i;
	u32 tail;

	for (i = 0; i < EVTCHN_FIFO_MAX_QUEUES; i++) {
		if (data->u.evtchn_tail[i] >= KVM_XEN_FIFO_NR_PORTS)
			return -EINVAL;
	}

	mutex_lock(&kvm->arch.xen.lock);
	control = kvm_xen_fifo_make_control(vcpu);
	fifo = kvm_xen_fifo(kvm);
	for (i = 0; control && i < EVTCHN_FIFO_MAX_QUEUES; i++) {
		tail = kvm_xen_fifo_port(data->u.evtchn_tail[i]);
		if (tail)
			WRITE_ONCE(fifo->ports[tail].queue, 1 + kvm_xen_fifo_target(vcpu, i));
		kvm_xen_set_tail(&control->queues[i], tail);
	}
	mutex_unlock(&kvm->arch.xen.lock);
	if (!control)
		return -ENOMEM;

	kvm_xen_fifo_deliver_new(kvm);
	return 0;
}

/**
 * kvm_xen_get_evtchn_tails - KVM_XEN_VCPU_ATTR_TYPE_EVTCHN_TAILS, read
 * @vcpu: the vCPU
 * @data: where to
 *
 * Context: vCPU ioctl, kvm->srcu held.
 *
 * Return: 0.
 */
int kvm_xen_get_evtchn_tails(struct kvm_vcpu *vcpu, struct kvm_xen_vcpu_attr *data)
{
	struct kvm_xen_fifo_control *control = kvm_xen_fifo_control(vcpu);
	unsigned int i;

	for (i = 0; i < EVTCHN_FIFO_MAX_QUEUES; i++)
		data->u.evtchn_tail[i] = control ? READ_ONCE(control->queues[i].tail) : 0;
	return 0;
}

/**
 * kvm_xen_fifo_keep - keep an event that userspace has brought along
 * @vcpu: whom it is bound to
 * @port: less than KVM_XEN_FIFO_NR_PORTS
 * @priority: as of __kvm_xen_raise()
 *
 * Context: vCPU ioctl, kvm->srcu held.  May sleep.
 *
 * Return: 0 or -ENOMEM.
 */
int kvm_xen_fifo_keep(struct kvm_vcpu *vcpu, u32 port, u32 priority)
{
	struct kvm_xen_fifo *fifo;

	mutex_lock(&vcpu->kvm->arch.xen.lock);
	fifo = kvm_xen_make_fifo(vcpu->kvm);
	if (fifo)
		__kvm_xen_fifo_keep(fifo, kvm_xen_fifo_port(port),
				    kvm_xen_fifo_target(vcpu, priority), false);
	mutex_unlock(&vcpu->kvm->arch.xen.lock);
	if (!fifo)
		return -ENOMEM;

	kvm_xen_defer(vcpu, KVM_XEN_DEFERRED_PORTS);
	return 0;
}
