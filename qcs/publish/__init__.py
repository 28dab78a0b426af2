"""Publishing a network on the Hugging Face Hub, with everything needed to use it and to check it."""

from qcs.publish.repository import Publication as Publication
from qcs.publish.repository import check_repository as check_repository
from qcs.publish.repository import write_repository as write_repository
from qcs.publish.upload import push as push
