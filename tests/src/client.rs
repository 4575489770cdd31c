//! stub
use crate::node::Node;
/// client
pub struct Client<'a> {
    node: Node<'a>,
}
impl<'a> Client<'a> {
    pub(crate) fn new(node: Node<'a>) -> Self {
        Self { node }
    }
}
impl<'a> std::ops::Deref for Client<'a> {
    type Target = Node<'a>;
    fn deref(&self) -> &Node<'a> {
        &self.node
    }
}
